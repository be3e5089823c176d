"""What the C++ kernels are given: the structs of ``types.h``, and arrays of addresses, as bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.kernels.int8.rows import BF16_DEPTH, BLOCK_IN

# Number of rows that go through all layers of an MLP before the next ones, so that the values between layers stay in
# the cache.
BLOCK_ROWS = 512

# The same for a cross network, whose weights are read once per block. A multiple of the rows that tiles (32) and VNNI
# registers (12) take at a time.
CROSS_BLOCK_ROWS = 192

# The structs of types.h, without the pointers that are passed separately. With ctypes.Structure the fields would have
# names, but a batch of one in MLPerf's shape took 6 % longer: 260 instead of 246 us (medians, two builds in turn).
_LAYER = struct.Struct("PPPqqfiff8x")
MLP = struct.Struct("8xqPPqqffPq")
TABLES = struct.Struct("32xqqPPqqq")
INTERACTION = struct.Struct("PqffPPqq")
_CROSS = struct.Struct("P24xqffPPqq")

TableArrays = tuple[bytes, bytes, bytes, bytes | None]
CrossArrays = tuple[bytes, bytes, bytes]


def tables_job(count: int, dim: int, indices: Tensor, offsets: Tensor | None, batch: int) -> bytes:
    """The lookups of a kernel, whose tables are passed beside it as ``table_arrays``."""
    starts = 0 if offsets is None else offsets.data_ptr()
    return TABLES.pack(count, dim, indices.data_ptr(), starts, indices.stride(0), indices.numel(), batch)


def interaction_job(
    dense: Tensor, diagonal: bool, output_scale: float, output_zero_point: int, width: int, out: Tensor
) -> bytes:
    """What an interaction is given beside its tables."""
    floats, uint8 = (out.data_ptr(), 0) if out.dtype == torch.float32 else (0, out.data_ptr())
    return INTERACTION.pack(
        dense.data_ptr(), diagonal, 1.0 / output_scale, output_zero_point, floats, uint8, width, out.shape[1]
    )


def cross_job(dense: Tensor, num_layers: int, output_scale: float, output_zero_point: int, out: Tensor) -> bytes:
    """What a cross network is given beside its tables and layers."""
    floats, uint8 = (out.data_ptr(), 0) if out.dtype == torch.float32 else (0, out.data_ptr())
    return _CROSS.pack(
        *(dense.data_ptr(), num_layers, 1.0 / output_scale, output_zero_point),
        *(floats, uint8, out.shape[1], CROSS_BLOCK_ROWS),
    )


def cross_arrays(
    input_scales: Sequence[float],
    input_zero_points: Sequence[int],
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    rank: int,
    width: int,
) -> CrossArrays:
    """Layers of a cross network, and the scales and zero points of their inputs, as C arrays."""
    count = len(input_scales)
    return (
        layer_array(weights, multipliers, biases, [0, *[rank, width] * count], [0.0, -math.inf] * count),
        struct.pack(f"{count}f", *(1.0 / scale for scale in input_scales)),
        struct.pack(f"{count}f", *input_zero_points),
    )


def layer_array(
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    widths: Sequence[int],
    lowest: Sequence[float],
    input_scales: Sequence[float] = (),
    input_zero_points: Sequence[int] = (),
) -> bytes:
    """Layers of a chain as a C array, which points into the tensors.

    Scales and zero points are read for int8 layers after bf16 ones; without such layers they may be left out.
    """
    scales, zero_points = input_scales or [1.0] * len(weights), input_zero_points or [0] * len(weights)
    return b"".join(
        _LAYER.pack(
            *(w.data_ptr(), m.data_ptr(), b.data_ptr()),
            *(w.shape[1] * (BLOCK_IN if w.dtype == torch.int8 else BF16_DEPTH), width, low),
            *(w.dtype != torch.int8, 1.0 / scale, zero_point),
        )
        for w, m, b, width, low, scale, zero_point in zip(
            weights, multipliers, biases, widths[1:], lowest, scales, zero_points, strict=True
        )
    )


def table_arrays(tables: Sequence[Tensor], dtypes: Sequence[int], is_mean: Sequence[bool]) -> TableArrays:
    """Addresses, row counts, dtypes and flags of the tables as C arrays."""
    count = len(tables)
    return (
        struct.pack(f"{count}P", *(table.data_ptr() for table in tables)),
        struct.pack(f"{count}q", *(table.shape[0] for table in tables)),
        struct.pack(f"{count}i", *dtypes),
        bytes(is_mean) or None,
    )
