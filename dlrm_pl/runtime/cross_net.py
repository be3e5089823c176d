"""Cross network of the served model: in one op if all its Linears are int8, otherwise layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear, fold, segments
from dlrm_pl.runtime.tables import PackedTables


class Int8CrossNet:
    """A cross network of int8 Linears, computed by one op together with the lookups.

    The vectors of a block of samples are looked up, go through all layers and are rounded before the next block, so
    that they stay in the cache.

    Args:
        layers: V and W of the first layer, then of the second, and so on.

    Raises:
        ShapeError: a V has float output, or a W does not.
    """

    def __init__(self, layers: Sequence[Int8Linear]) -> None:
        for index, layer in enumerate(layers):
            if (layer.output_scale is None) != bool(index % 2) or layer.relu:
                raise ShapeError("In an int8 cross layer, V outputs bytes and W outputs floats, without ReLU.")
        inputs = layers[::2]
        self._scales = [layer.input_scale for layer in inputs]
        self._zero_points = [layer.input_zero_point for layer in inputs]
        folded = [fold(layer) for layer in layers]
        self._weights = [ops.pack_weight(layer.weight) for layer in layers]
        self._multipliers = [multiplier for multiplier, _ in folded]
        self._biases = [bias for _, bias in folded]
        self._rank = inputs[0].weight.shape[0]

    @property
    def kernel_arguments(
        self,
    ) -> tuple[list[float], list[int], list[Tensor], list[Tensor], list[Tensor], int]:
        """Return the scales, zero points, packed weights, multipliers, biases and rank for ``ops.lookup_cross``."""
        return self._scales, self._zero_points, self._weights, self._multipliers, self._biases, self._rank

    def __call__(
        self,
        dense: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        tables: PackedTables,
        output_scale: float | None,
        output_zero_point: int,
    ) -> Tensor:
        """Look up the tables and compute all layers, see ``ops.lookup_cross``."""
        result: Tensor = torch.ops.dlrm_pl.lookup_cross(
            dense,
            indices,
            offsets,
            tables.all(),
            tables.codes,
            *self.kernel_arguments,
            output_scale,
            output_zero_point,
            tables.is_mean,
        )
        return result


class MixedCrossNet:
    """A cross network of int8 and float Linears, computed layer by layer on looked-up vectors.

    Args:
        layers: V and W of the first layer, then of the second, and so on.
    """

    def __init__(self, layers: Sequence[Int8Linear | FloatLinear]) -> None:
        self._layers = [segments(layers[index : index + 2]) for index in range(0, len(layers), 2)]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Compute all layers: float32 ``[B, (T + 1) * D]`` -> the same shape."""
        x = vectors
        for layer in self._layers:
            crossed = x
            for linears in layer:
                crossed = linears(crossed)
            # The product and the sum are rounded one after the other, as in the kernels.
            x = crossed.mul_(vectors).add_(x)
        return x


def cross_net_of(layers: Sequence[Int8Linear | FloatLinear]) -> Int8CrossNet | MixedCrossNet | None:
    """Return the module for a cross network, given V and W of each layer in order; None if there are no layers."""
    if not layers:
        return None
    integers = [layer for layer in layers if isinstance(layer, Int8Linear)]
    return Int8CrossNet(integers) if len(integers) == len(layers) else MixedCrossNet(layers)
