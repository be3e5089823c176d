"""Insert stubs and fuse: the MLPs of a float model become segments for calibration, copied; its tables are shared."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby

from torch import nn

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.recipe import LinearDtype, Recipe
from dlrm_pl.runtime.linear import FloatLinear


def prepare(model: DLRM, recipe: Recipe, tables: nn.Module) -> DLRM:
    """Make a model that is ready for calibration.

    Args:
        model: float model; not changed.
        recipe: recipe that says which Linears become int8.
        tables: module that takes the place of the embedding bags.

    Returns:
        A DLRM whose int8 layers, Linear and ReLU fused, are between a QuantStub and a DeQuantStub, with observers.

    Raises:
        ConfigurationError: the recipe has another number of Linears than the model.
    """
    return DLRM.from_parts(
        model.architecture,
        _prepare_mlp(model.bottom_mlp, recipe.bottom_mlp, recipe, "bottom_mlp"),
        tables,
        _prepare_mlp(model.top_mlp, recipe.top_mlp, recipe, "top_mlp"),
    ).eval()


def _prepare_mlp(mlp: nn.Module, dtypes: Sequence[LinearDtype], recipe: Recipe, name: str) -> nn.Sequential:
    from dlrm_pl.quantization.ptq import torch_ao

    layers = checked_linears(mlp, dtypes, name)
    segments: list[nn.Module] = []
    for dtype, run in groupby(zip(dtypes, layers, strict=True), key=lambda item: item[0]):
        if dtype == "int8":
            chain: list[nn.Module] = [copy.deepcopy(module) for _, pair in run for module in pair if module is not None]
            segments.append(torch_ao.segment(chain, recipe))
        else:
            segments += [
                FloatLinear(linear.weight, linear.bias, relu=relu is not None, dtype=dtype) for _, (linear, relu) in run
            ]
    return nn.Sequential(*segments)


def checked_linears(mlp: nn.Module, dtypes: Sequence[LinearDtype], name: str) -> list[tuple[nn.Linear, nn.ReLU | None]]:
    """Linears of an MLP, each with the ReLU after it or None, after a check of their number.

    Raises:
        ConfigurationError: the recipe has another number of Linears than the model.
    """
    layers = list(linear_layers(mlp))
    if len(layers) != len(dtypes):
        raise ConfigurationError(f"The recipe has {len(dtypes)} Linears for {name}, but the model has {len(layers)}.")
    return layers


def linear_layers(mlp: nn.Module) -> Iterator[tuple[nn.Linear, nn.ReLU | None]]:
    """Linears of an MLP, each with the ReLU after it or None."""
    modules = list(mlp.children())
    for index, module in enumerate(modules):
        if isinstance(module, nn.Linear):
            after = modules[index + 1] if index + 1 < len(modules) else None
            yield module, after if isinstance(after, nn.ReLU) else None
