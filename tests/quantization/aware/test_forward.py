"""The rounded forward pass computes the same as the int8 model, and trains the float weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from dlrm_pl.errors import ShapeError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.aware.forward import RoundedForward
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.ptq.trained import TrainedQuantization
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from tests.support import tiny

RECIPES: list[dict[str, Any]] = [
    {},
    {"tables": "int4", "observer": "percentile"},
    {"tables": "fp16", "interaction": "int8"},
    {"tables": "fp32", "interaction": "bf16"},
    {"linears": "bf16", "tables": "int4"},
    {"linears": "fp32"},
    {"activation_scheme": "symmetric", "weight_granularity": "per_tensor"},
]
OTHERS = {
    "cat": dataclasses.replace(tiny.ARCHITECTURE, interaction="cat"),
    "dcn": dataclasses.replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=9),
    "self": dataclasses.replace(tiny.ARCHITECTURE, self_interaction=True),
    "mean": dataclasses.replace(tiny.ARCHITECTURE, pooling=("mean", "sum", "mean")),
}


def trained(architecture: Architecture, **start: Any) -> tuple[Any, TrainedQuantization]:
    """A model whose weights are not tiny, as after training, and its quantization."""
    model = tiny.model(0, architecture)
    with torch.no_grad():
        for table in model.embedding_bags.parameters():
            table.normal_(generator=torch.Generator().manual_seed(len(table)))
    recipe = dataclasses.replace(Recipe.starting_from(RecipeStart(**start), architecture), bias_correction=False)
    ranges = ActivationRanges(model, tiny.batches(2, 64, architecture=architecture))
    return model, TrainedQuantization(recipe, ranges.observed_by(recipe.observer) if recipe.has_int8_linears else {})


def assert_like_the_int8_model(architecture: Architecture, **start: Any) -> None:
    model, found = trained(architecture, **start)
    int8 = quantize(model, found.recipe, ActivationRanges(model, tiny.batches(2, 64)), table_packer(model))
    for batch in (*tiny.batches(1, 400, 5, architecture), *tiny.bags(1, 400, 5, architecture)):
        with torch.no_grad():
            rounded, floats = RoundedForward(model, found)(batch), model(batch)
        difference = (rounded - int8(batch)).abs()
        # Sums round differently, which sometimes moves an activation by one step: far less than rounding does.
        assert (difference > 1e-5).float().mean() < 0.02
        assert difference.max() <= (floats - int8(batch)).abs().max()


@pytest.mark.parametrize("start", RECIPES, ids=str)
def test_logits_are_those_of_the_int8_model(start: dict[str, Any]) -> None:
    assert_like_the_int8_model(tiny.ARCHITECTURE, **start)


@pytest.mark.parametrize("name", OTHERS)
def test_logits_are_those_of_the_int8_model_of_any_architecture(name: str) -> None:
    assert_like_the_int8_model(OTHERS[name], tables="int4")


def test_tables_of_several_dtypes_are_rounded_each_by_its_own() -> None:
    model, found = trained(tiny.ARCHITECTURE)
    recipe = found.recipe.with_dtype("tables.1", "int4").with_dtype("tables.2", "fp32").with_dtype("top_mlp.1", "fp32")
    found = TrainedQuantization(recipe, found.ranges)
    int8 = quantize(model, recipe, tiny.batches(2, 64), table_packer(model))
    batch = tiny.batches(1, 300, 5)[0]
    assert ((RoundedForward(model, found)(batch) - int8(batch)).abs() < 1e-4).float().mean() > 0.98


def test_every_weight_gets_a_gradient_close_to_the_float_models() -> None:
    """Rounding is small here, so the gradients differ little; without straight-through they would be 0."""
    model, found = trained(tiny.ARCHITECTURE)
    batch = tiny.batches(1, 256)[0]
    gradients = []
    for forward in (model, RoundedForward(model, found)):
        model.zero_grad()
        forward(batch).square().mean().backward()
        gradients.append({name: parameter.grad.to_dense() for name, parameter in model.named_parameters()})
    for name, expected in gradients[0].items():
        cosine = torch.nn.functional.cosine_similarity(gradients[1][name].flatten(), expected.flatten(), dim=0)
        assert cosine > 0.97, name


def test_autocast_does_not_reach_the_rounded_forward() -> None:
    model, found = trained(tiny.ARCHITECTURE)
    forward, batch = RoundedForward(model, found), tiny.batches(1, 32)[0]
    expected = forward(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(forward(batch), expected)


def test_batches_of_another_model_are_refused() -> None:
    model, found = trained(tiny.ARCHITECTURE)
    forward, batch = RoundedForward(model, found), tiny.batches(1, 4)[0]
    with pytest.raises(ShapeError, match=r"takes 13 dense features, shape \[B, 13\], but got \[4, 12\]"):
        forward(batch._replace(dense=batch.dense[:, :12]))
    with pytest.raises(ShapeError, match=r"3 tables need indices of shape \[T, B\], got \[2, 4\]"):
        forward(batch._replace(indices=batch.indices[:2]))
