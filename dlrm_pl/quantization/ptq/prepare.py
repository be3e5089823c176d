"""Insert stubs and fuse: a float model's MLPs become segments for calibration, as copies; its tables are shared."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.int8.dtypes import FloatDtype
from dlrm_pl.model.cross_net import CrossNet
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.recipe import LinearDtype, Recipe
from dlrm_pl.runtime.linear import FloatLinear


def prepare(model: DLRM, recipe: Recipe, tables: nn.Module) -> DLRM:
    """Make a model that is ready for calibration.

    Args:
        model: float model; not changed.
        recipe: recipe that says which Linears become int8.
        tables: module that replaces the embedding bags.

    Returns:
        A DLRM whose int8 layers, Linear and ReLU fused, are between a QuantStub and a DeQuantStub, with observers.

    Raises:
        ConfigurationError: the recipe has a different number of Linears than the model.
    """
    prepared = {name: _prepare_chain(chain, recipe, name) for name, chain in float_chains(model).items()}
    bottom_mlp, *cross_layers, top_mlp = prepared.values()
    cross_net = None
    if model.cross_net is not None:
        cross_net = CrossNet(PreparedCrossLayer(linears) for linears in cross_layers)
    return DLRM.from_parts(model.architecture, bottom_mlp, tables, top_mlp, cross_net).eval()


class PreparedCrossLayer(nn.Module):
    """A cross layer whose V and W are ready for calibration.

    Args:
        linears: V and W, one after the other.
    """

    def __init__(self, linears: nn.Sequential) -> None:
        super().__init__()
        self.linears = linears

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        """Compute the layer, see ``CrossLayer``."""
        crossed: Tensor = first * self.linears(x) + x
        return crossed


def float_chains(model: DLRM) -> dict[str, nn.Module]:
    """Return consecutive Linears of a float model, by name: each MLP, and V and W of each cross layer."""
    layers = enumerate(() if model.cross_net is None else model.cross_net.children())
    crossed = {f"cross_net.{index}": layer for index, layer in layers}
    return {"bottom_mlp": model.bottom_mlp, **crossed, "top_mlp": model.top_mlp}


def prepared_chains(prepared: DLRM) -> dict[str, nn.Sequential]:
    """Return the segments of a prepared model by name, as in ``float_chains``."""
    chains = {}
    for name, chain in float_chains(prepared).items():
        linears = chain.linears if isinstance(chain, PreparedCrossLayer) else chain
        assert isinstance(linears, nn.Sequential)  # prepare() made it one.
        chains[name] = linears
    return chains


def _prepare_chain(mlp: nn.Module, recipe: Recipe, name: str) -> nn.Sequential:
    dtypes = recipe.chains.get(name, ())
    from dlrm_pl.quantization.ptq import torch_ao

    layers = checked_linears(mlp, dtypes, name)
    segments: list[nn.Module] = []
    for dtype, run in groupby(zip(dtypes, layers, strict=True), key=lambda item: item[0]):
        if dtype == "int8":
            chain: list[nn.Module] = [copy.deepcopy(module) for _, pair in run for module in pair if module is not None]
            segments.append(torch_ao.segment(chain, recipe))
        else:
            segments += [float_linear(linear, relu=relu is not None, dtype=dtype) for _, (linear, relu) in run]
    return nn.Sequential(*segments)


def float_linear(linear: nn.Linear, *, relu: bool, dtype: FloatDtype) -> FloatLinear:
    """Make the layer for a Linear that stays float; one without a bias gets zeros."""
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return FloatLinear(linear.weight, bias, relu=relu, dtype=dtype)


def checked_linears(mlp: nn.Module, dtypes: Sequence[LinearDtype], name: str) -> list[tuple[nn.Linear, nn.ReLU | None]]:
    """Return the Linears of an MLP, each with the ReLU after it or None, after checking their number.

    Raises:
        ConfigurationError: the recipe has a different number of Linears than the model.
    """
    layers = list(linear_layers(mlp))
    if len(layers) != len(dtypes):
        raise ConfigurationError(f"The recipe has {len(dtypes)} Linears for {name}, but the model has {len(layers)}.")
    return layers


def linear_layers(mlp: nn.Module) -> Iterator[tuple[nn.Linear, nn.ReLU | None]]:
    """Return the Linears of an MLP, each with the ReLU after it or None."""
    modules = list(mlp.children())
    for index, module in enumerate(modules):
        if isinstance(module, nn.Linear):
            after = modules[index + 1] if index + 1 < len(modules) else None
            yield module, after if isinstance(after, nn.ReLU) else None
