"""torch.ao's result for a recipe as plain tensors: the oracle of ``dlrm_pl.quantization.ptq.quantize_linear``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.ao.nn.intrinsic as intrinsic
import torch.ao.nn.intrinsic.quantized as intrinsic_quantized
import torch.ao.nn.quantized as quantized
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq import torch_ao
from dlrm_pl.quantization.ptq.calibration import ActivationRanges, calibrate
from dlrm_pl.quantization.ptq.prepare import prepare
from dlrm_pl.quantization.ptq.quantize import logit_shift, table_packer
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear
from dlrm_pl.runtime.tables import PackedTables

PARTS = ("bottom_mlp", "top_mlp")


def quantized_by_torch_ao(model: DLRM, recipe: Recipe, batches: Sequence[ClickBatch]) -> Int8DLRM:
    """Convert with the ranges that an all-int8 model's observers saw for the rows."""
    seen = prepare(
        model,
        replace(Recipe.all_float(model.architecture, linears="int8"), observer=recipe.observer),
        model.embedding_bags,
    )
    calibrate(seen, batches)
    tables = PackedTables(
        table_packer(model).packed(recipe.tables),
        recipe.tables,
        model.architecture.embedding_dim,
        model.architecture.is_mean,
    )
    prepared = prepare(model, recipe, tables)
    for part in PARTS:
        states = [observer.state_dict() for observer in observers(getattr(seen, part)[0])]
        first = 0
        for segment in getattr(prepared, part):
            if isinstance(segment, FloatLinear):
                first += 1
                continue
            count = sum(isinstance(layer, nn.Linear | intrinsic.LinearReLU) for layer in segment)
            for observer, state in zip(observers(segment), states[first : first + count + 1], strict=True):
                observer.load_state_dict(state)
            first += count
    torch_ao.convert(prepared)
    mlps = [plain_layers(getattr(prepared, part)) for part in PARTS]
    made = Int8DLRM(model.architecture, mlps[0], tables, mlps[1], recipe.interaction).eval()
    if recipe.bias_correction and set(recipe.ops.values()) != {"fp32"}:
        mlps[1][-1].bias = mlps[1][-1].bias + logit_shift(made, ActivationRanges(model, batches))
        made = Int8DLRM(model.architecture, mlps[0], tables, mlps[1], recipe.interaction).eval()
    return made


def observers(segment: nn.Module) -> list[nn.Module]:
    """Return the observers of activations in order; DeQuantStub has none."""
    found = [getattr(part, "activation_post_process", None) for part in segment.children()]
    return [observer for observer in found if hasattr(observer, "min_val")]  # type: ignore[misc]


def plain_layers(mlp: nn.Module) -> list[Int8Linear | FloatLinear]:
    """Turn converted segments into layers of plain tensors."""
    layers: list[Int8Linear | FloatLinear] = []
    for segment in mlp.children():
        if isinstance(segment, FloatLinear):
            layers.append(segment)
            continue
        entry, *linears, _ = segment.children()
        scale, zero_point = float(entry.scale), int(entry.zero_point)  # type: ignore[arg-type]
        for index, linear in enumerate(linears):
            assert isinstance(linear, quantized.Linear)
            last = index == len(linears) - 1
            layers.append(_plain_layer(linear, scale, zero_point, last=last, first=index == 0))
            scale, zero_point = float(linear.scale), int(linear.zero_point)
    return layers


def _plain_layer(linear: Any, input_scale: float, input_zero_point: int, *, first: bool, last: bool) -> Int8Linear:
    weight, bias = linear._weight_bias()
    per_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
    scale = weight.q_per_channel_scales() if per_channel else torch.tensor([weight.q_scale()])
    return Int8Linear(
        weight.int_repr(),
        scale.float(),
        torch.zeros(weight.shape[0]) if bias is None else bias.detach().float(),
        input_scale=input_scale,
        input_zero_point=input_zero_point,
        output_scale=None if last else float(linear.scale),
        output_zero_point=0 if last else int(linear.zero_point),
        relu=isinstance(linear, intrinsic_quantized.LinearReLU),
        quantizes_input=first,
    )
