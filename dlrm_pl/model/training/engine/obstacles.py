"""Reasons why training cannot use native code, as clauses for messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from dlrm_pl.kernels.training import selection
from dlrm_pl.kernels.training.native import MAX_LAYERS, MAX_TABLES, MAX_WIDTH
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.cross_net import CrossLayer, CrossNet
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.training.engine.hooks import is_of_the_user, overridden
from dlrm_pl.model.training.optimizers.native import rules_of
from dlrm_pl.model.weighted_bags import WeightedBags

# Methods of a module whose work the native step does, or that read or change gradients, which it does not keep.
_MODULE_HOOKS = (
    "training_step",
    "forward",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
)
_CALLBACK_HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad")


def obstacle(module: pl.LightningModule, model: nn.Module, trainer: pl.Trainer) -> str:
    """Return why training cannot use the native step, as a clause; "" if it can.

    Args:
        module: module to train.
        model: the module's network.
        trainer: Trainer that trains the module; its optimizer exists by now.
    """
    return next(_obstacles(module, model, trainer), "")


def native_precision(plugin: Precision) -> selection.Precision | None:
    """Return the native step's precision for a ``trainer.precision``; None if there is none."""
    if type(plugin) is Precision:
        return "fp32"
    return "bf16" if type(plugin) is MixedPrecision and plugin.precision == "bf16-mixed" else None


def _obstacles(module: pl.LightningModule, model: nn.Module, trainer: pl.Trainer) -> Iterator[str]:
    yield from _of_trainer(trainer)
    yield from _of_hooks(module, trainer)
    yield from _of_model(model)
    yield from _of_optimizers(module, model, trainer.optimizers)


def _of_trainer(trainer: pl.Trainer) -> Iterator[str]:
    if trainer.world_size > 1:
        yield f"it trains in one process, but there are {trainer.world_size} (trainer.devices)"
    if trainer.strategy.root_device.type != "cpu":
        yield f"it runs on the CPU, but the model is on {trainer.strategy.root_device}"
    if type(trainer.strategy) is not SingleDeviceStrategy:
        yield f"it does not support the strategy {type(trainer.strategy).__name__}"
    precision = native_precision(trainer.precision_plugin)
    if precision is None:
        yield f"it supports trainer.precision 32-true and bf16-mixed, not {trainer.precision}"
    elif selection.level_in_use(precision) is None:
        yield (
            "DLRM_PL_ISA switches it off"
            if selection.levels(precision)
            else "it was not built for this processor when the package was installed"
        )
    if trainer._detect_anomaly:
        yield "trainer.detect_anomaly watches torch's gradients"


def _of_hooks(module: pl.LightningModule, trainer: pl.Trainer) -> Iterator[str]:
    for name in _MODULE_HOOKS:
        if is_of_the_user(getattr(module, name)):
            yield f"{type(module).__name__} overrides {name}"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if reason := getattr(callback, "needs_torch", ""):
            yield f"{type(callback).__name__} {reason}"
        for name in overridden(callback, _CALLBACK_HOOKS):
            yield f"the callback {type(callback).__name__} uses {name}, where the native step leaves no gradients"


def _of_model(model: nn.Module) -> Iterator[str]:
    if type(model) is not DLRM:
        yield f"the model is of the class {type(model).__name__}, not DLRM"
        return
    if model.cross_net is not None and not _is_plain(model.cross_net):
        yield "cross_net is not a sequence of CrossLayers with plain Linears"
    parts: list[tuple[str, nn.Module, Any]] = [("bottom_mlp", model.bottom_mlp, None), ("top_mlp", model.top_mlp, 1)]
    for name, mlp, left_out in parts:
        kinds = [type(layer) for layer in mlp.children()]
        expected = [nn.Linear, nn.ReLU] * ((len(kinds) + 1) // 2)
        if type(mlp) is not nn.Sequential or kinds != (expected[:-1] if left_out else expected):
            yield f"{name} is not a sequence of Linear and ReLU"
    yield from _of_size(model.architecture)
    bags = model.embedding_bags
    if isinstance(bags, WeightedBags):
        yield "only torch can train weighted_pooling='learned'"
    elif type(bags) is not EmbeddingBags or any(type(table) is not nn.EmbeddingBag for table in bags.tables):
        yield "embedding_bags are not plain tables"
    elif bags.nonfinite_as_zero:
        yield "the tables are read with NaN as 0"
    for name, part in model.named_modules():
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
            yield f"{name or 'the model'} has hooks"
    for name, parameter in model.named_parameters():
        yield from _of_parameter(name, parameter)


def _of_size(shape: Architecture) -> Iterator[str]:
    counts = {
        "bottom_mlp": len(shape.bottom_mlp) - 1,
        "cross_net": shape.cross_layers,
        "top_mlp": len(shape.top_mlp),
    }
    for name, count in counts.items():
        if count > MAX_LAYERS:
            yield f"{name} has {count:,} layers, but it supports at most {MAX_LAYERS}"
    if shape.num_tables > MAX_TABLES:
        yield f"there are {shape.num_tables:,} tables, but it supports at most {MAX_TABLES:,}"
    if shape.interaction_width > MAX_WIDTH:
        yield f"the top MLP reads {shape.interaction_width:,} values, but it supports at most {MAX_WIDTH:,}"


def _is_plain(net: nn.Module) -> bool:
    """Whether a cross network consists of what native code computes."""
    return type(net) is CrossNet and all(
        type(layer) is CrossLayer
        and type(layer.v) is type(layer.w) is nn.Linear
        and layer.v.bias is None
        and layer.w.bias is not None
        for layer in net.children()
    )


def _of_parameter(name: str, parameter: nn.Parameter) -> Iterator[str]:
    if type(parameter) is not nn.Parameter:
        yield f"{name} is of the class {type(parameter).__name__}"
    elif parameter.dtype != torch.float32 or not parameter.is_contiguous() or parameter.is_meta:
        yield f"{name} is not a contiguous float32 tensor"
    elif not parameter.requires_grad:
        yield f"{name} is frozen"
    elif parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
        yield f"{name} has a hook for its gradient"


def _of_optimizers(
    module: pl.LightningModule, model: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> Iterator[str]:
    if len(optimizers) != 1:
        yield f"there are {len(optimizers)} optimizers"
        return
    if isinstance(rules := rules_of(optimizers[0]), str):
        yield rules
    trained = {id(parameter) for group in optimizers[0].param_groups for parameter in group["params"]}
    if trained != {id(parameter) for parameter in model.parameters()}:
        yield "the optimizer has other parameters than the model"
    if trained != {id(parameter) for parameter in module.parameters()}:
        yield f"{type(module).__name__} has parameters beside those of DLRM"
