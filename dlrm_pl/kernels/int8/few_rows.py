"""C++ kernel calls for a few rows, always with the same weights and the same input and output memory.

For a request of one row, a server spends as much time around the kernels as in them. Here, everything that is the same
in every call is computed in advance, which leaves only the addresses of a request's values and their number.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dlrm_pl.kernels.int8.jobs import BLOCK_ROWS, MLP, TABLES, CrossArrays, TableArrays, cross_job, interaction_job
from dlrm_pl.kernels.int8.native import NativeKernels, Where
from dlrm_pl.kernels.int8.rows import BLOCK_IN, round_up

FewRows = Callable[[int, int], bool]
"""Takes the address of the values and the number of rows, and returns whether all went well; if not, the calls for any
number of rows report the error. To be called from one thread at a time."""

FewLookups = Callable[[int, int, int, int], bool]
"""The same with the addresses of the ids and, for bags, of the offsets (or 0), the numbers of rows and of ids."""


def few_rows_mlp(
    native: NativeKernels,
    layers: bytes,
    count: int,
    inputs: int,
    input_scale: float,
    input_zero_point: int,
    is_float: bool,
    out: Tensor,
) -> FewRows:
    """Prepare a chain of int8 Linears.

    Args:
        native: the kernels.
        layers: the ``layer_array`` of the chain.
        count: number of its layers.
        inputs: inputs of its first layer.
        input_scale: size of one step of the input.
        input_zero_point: byte that stands for 0.
        is_float: whether the input is float32 ``[B, inputs]``, or uint8 padded to blocks.
        out: float32 output, whose first rows are written; it has as many rows as are ever computed.
    """
    function, variant = native.function("mlp")
    where, pack = Where(), MLP.pack
    stride = inputs if is_float else round_up(inputs, BLOCK_IN)
    fixed = 1.0 / input_scale, input_zero_point, out.data_ptr(), BLOCK_ROWS

    def floats(address: int, rows: int) -> bool:
        return not function(variant, pack(count, address, 0, inputs, stride, *fixed), layers, rows, 1, where)

    def uint8(address: int, rows: int) -> bool:
        return not function(variant, pack(count, 0, address, inputs, stride, *fixed), layers, rows, 1, where)

    return floats if is_float else uint8


def few_rows_interaction(
    native: NativeKernels,
    dense: Tensor,
    arrays: TableArrays,
    count: int,
    diagonal: bool,
    output_scale: float,
    output_zero_point: int,
    width: int,
    out: Tensor,
) -> FewLookups:
    """Prepare the lookups and the interaction of one-hot indices, int64 ``[T, B]``, or of bags, int64 ``[L]``.

    Args:
        native: the kernels.
        dense: float32 ``[rows, D]``, whose first rows are read.
        arrays: the ``table_arrays``.
        count: number of tables.
        diagonal: whether a vector's product with itself is included.
        output_scale: size of one step of the output.
        output_zero_point: byte that stands for 0.
        width: values of a row of the output.
        out: uint8, padded to blocks, whose first rows are written.
    """
    fixed = interaction_job(dense, diagonal, output_scale, output_zero_point, width, out)
    return _few_lookups(native, "interaction", count, dense.shape[1], fixed, arrays)


def few_rows_cross(
    native: NativeKernels,
    dense: Tensor,
    arrays: TableArrays,
    count: int,
    layers: CrossArrays,
    num_layers: int,
    output_scale: float,
    output_zero_point: int,
    out: Tensor,
) -> FewLookups:
    """Prepare the lookups and the cross network of one-hot indices, int64 ``[T, B]``, or of bags, int64 ``[L]``.

    Args:
        native: the kernels.
        dense: float32 ``[rows, D]``, whose first rows are read.
        arrays: the ``table_arrays``.
        count: number of tables.
        layers: the ``cross_arrays``.
        num_layers: number of layers.
        output_scale: size of one step of the output.
        output_zero_point: byte that stands for 0.
        out: uint8, padded to blocks, whose first rows are written.
    """
    fixed = cross_job(dense, num_layers, output_scale, output_zero_point, out)
    return _few_lookups(native, "cross", count, dense.shape[1], fixed, (*arrays, *layers))


def _few_lookups(
    native: NativeKernels, name: str, count: int, dim: int, fixed: bytes, arrays: tuple[bytes | None, ...]
) -> FewLookups:
    function, variant = native.function(name)
    where, pack = Where(), TABLES.pack

    def call(indices: int, offsets: int, rows: int, lookups: int) -> bool:
        job = pack(count, dim, indices, offsets, rows, lookups, rows) + fixed
        return not function(variant, job, *arrays, 1, where)

    return call
