"""Parts of an int8 model as its kernels take them: everything constant is checked and converted once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from dlrm_pl.kernels.int8.checks import interaction_width, raise_failure
from dlrm_pl.kernels.int8.failure import Failure
from dlrm_pl.kernels.int8.few_rows import FewLookups, FewRows, few_rows_cross, few_rows_interaction, few_rows_mlp
from dlrm_pl.kernels.int8.jobs import TableArrays, cross_arrays, layer_array, table_arrays
from dlrm_pl.kernels.int8.native import NativeKernels
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.runtime.linear import LinearChain


@dataclass(frozen=True)
class DirectChain:
    """A chain of Linears.

    Attributes:
        chain: the chain; its tensors must stay at their addresses.
        layers: its layers as a C array.
        count: number of layers.
        inputs: number of inputs of the first layer.
        outputs: number of outputs of the last layer.
        products: number of products per row.
    """

    chain: LinearChain
    layers: bytes
    count: int
    inputs: int
    outputs: int
    products: int

    @classmethod
    def of(cls, chain: LinearChain) -> Self:
        """Prepare a chain."""
        scales, zero_points, weights, multipliers, biases, widths, lowest = chain.kernel_arguments
        layers = layer_array(weights, multipliers, biases, widths, lowest, scales, zero_points)
        return cls(chain, layers, len(weights), widths[0], widths[-1], sum(weight.numel() for weight in weights))

    def prepared(self, native: NativeKernels, is_float: bool, out: Tensor) -> FewRows:
        """Prepare the calls for a few rows, see ``few_rows_mlp``."""
        scale, zero_point = self.chain.input_scale, self.chain.input_zero_point
        return few_rows_mlp(native, self.layers, self.count, self.inputs, scale, zero_point, is_float, out)

    def run(self, native: NativeKernels, x: Tensor) -> Tensor:
        """Compute any number of rows."""
        out = torch.empty(x.shape[0], self.outputs)
        chain = self.chain
        failure = native.prepared_mlp(
            x, chain.input_scale, chain.input_zero_point, self.layers, self.count, self.inputs, out
        )
        raise_failure(failure)
        return out


class DirectLookups(Protocol):
    """Lookups, and the processing of the vectors until the top MLP reads them as bytes.

    Attributes:
        width: number of bytes per row, without padding.
        products: number of products per row.
    """

    width: int
    products: int

    def prepared(self, native: NativeKernels, dense: Tensor, out: Tensor) -> FewLookups:
        """Prepare the calls for a few rows, from ``dense`` and to ``out``."""
        ...

    def run(self, native: NativeKernels, dense: Tensor, indices: Tensor, out: Tensor) -> Failure | None:
        """Compute any number of one-hot rows."""
        ...


def direct_lookups(model: Int8DLRM, top: LinearChain) -> DirectLookups | None:
    """Return the lookups of a model whose top MLP is int8; None if the interaction is not purely in integers."""
    if model.fused_cross_net is not None:
        return _CrossNet(model, top)
    return _Interaction(model, top) if model.interaction == "int8" else None


class _Lookups:
    def __init__(self, model: Int8DLRM, top: LinearChain) -> None:
        tables = model.tables
        self._count = tables.num_tables
        self._arrays: TableArrays = table_arrays(tables.all(), tables.codes, tables.is_mean)
        self._output = top.input_scale, top.input_zero_point


class _Interaction(_Lookups):
    """Dot products of all pairs."""

    def __init__(self, model: Int8DLRM, top: LinearChain) -> None:
        super().__init__(model, top)
        shape = model.architecture
        self._diagonal = shape.self_interaction
        self.width = interaction_width(shape.num_tables, shape.embedding_dim, shape.self_interaction)
        self.products = (self.width - shape.embedding_dim) * shape.embedding_dim

    def prepared(self, native: NativeKernels, dense: Tensor, out: Tensor) -> FewLookups:
        return few_rows_interaction(
            native, dense, self._arrays, self._count, self._diagonal, *self._output, self.width, out
        )

    def run(self, native: NativeKernels, dense: Tensor, indices: Tensor, out: Tensor) -> Failure | None:
        return native.prepared_interaction(
            dense, indices, None, self._arrays, self._count, self._diagonal, *self._output, self.width, out
        )


class _CrossNet(_Lookups):
    """A cross network."""

    def __init__(self, model: Int8DLRM, top: LinearChain) -> None:
        super().__init__(model, top)
        cross = model.fused_cross_net
        assert cross is not None
        scales, zero_points, weights, multipliers, biases, rank = cross.kernel_arguments
        self.width = (self._count + 1) * model.architecture.embedding_dim
        self.products = sum(weight.numel() for weight in weights)
        self._num_layers = len(scales)
        self._layers = cross_arrays(scales, zero_points, weights, multipliers, biases, rank, self.width)

    def prepared(self, native: NativeKernels, dense: Tensor, out: Tensor) -> FewLookups:
        return few_rows_cross(
            native, dense, self._arrays, self._count, self._layers, self._num_layers, *self._output, out
        )

    def run(self, native: NativeKernels, dense: Tensor, indices: Tensor, out: Tensor) -> Failure | None:
        return native.prepared_cross(
            dense, indices, None, self._arrays, self._count, self._layers, self._num_layers, *self._output, out
        )
