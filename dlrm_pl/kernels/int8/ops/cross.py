"""Lookups, and a cross network of int8 Linears on their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8.checks import check_layer, check_scale, checked_lookups, raise_failure
from dlrm_pl.kernels.int8.ops.registration import register
from dlrm_pl.kernels.int8.rows import BLOCK_IN, MAX_INPUTS, round_up
from dlrm_pl.kernels.int8.selection import kernels


def lookup_cross(
    dense: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    input_scales: Sequence[float],
    input_zero_points: Sequence[int],
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    rank: int,
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    """Look up all tables and run a cross network of int8 Linears on the vectors side by side.

    Each layer computes ``x = x0 * (W (V x) + b) + x`` with float32 ``x``, which begins as ``x0``: the dense vector,
    then the sum of each bag. V reads ``x`` as bytes and outputs bytes, like a layer of ``quantized_mlp``; W outputs
    floats.

    Args:
        dense: float32 ``[B, D]``.
        indices: as in ``lookup``.
        offsets: as in ``lookup``.
        tables: packed rows of each table.
        dtypes: dtype of each table as its position in ``TABLE_DTYPES``.
        input_scales: for each layer, the step of the bytes that V reads.
        input_zero_points: for each layer, the byte that stands for 0.
        weights: V and W of the first layer, then of the second, and so on, as ``pack_weight`` returns them.
        multipliers: float32, one for each output of V and W, padded with zeros to a multiple of 16; in the same order.
        biases: float32, padded like the multipliers.
        rank: number of outputs of every V.
        output_scale: step of a uint8 result; None for a float32 result.
        output_zero_point: byte that stands for 0 in a uint8 result.
        is_mean: whether the bags of each table are averaged; empty: all are summed.

    Returns:
        float32 ``[B, (T + 1) * D]``, or uint8 padded with zeros to a multiple of 64.

    Raises:
        LookupIndexError: an index is outside its table, or offsets are not in order; the message names sample and
            table.
        NonFiniteError: the result is NaN or infinite; the message names the sample.
        ShapeError: the tensors do not fit together.
    """
    if dense.dim() != 2 or dense.dtype != torch.float32:
        raise ShapeError(f"A cross network takes a float32 dense vector [B, D], got {dense.dtype} {list(dense.shape)}.")
    batch, dim = dense.shape
    width, count = (len(tables) + 1) * dim, len(input_scales)
    lengths = [len(input_zero_points), len(weights) / 2, len(multipliers) / 2, len(biases) / 2]
    if not count or set(lengths) != {count}:
        raise ShapeError(
            f"{count} cross layers need zero points of their input, and weights, multipliers and biases of V and W "
            f"each, got {len(input_zero_points)}, {len(weights)}, {len(multipliers)} and {len(biases)}."
        )
    if not 1 <= width <= MAX_INPUTS or not 1 <= rank <= MAX_INPUTS:
        raise ShapeError(
            f"A cross layer takes 1 to {MAX_INPUTS:,} values, and has a rank of as many at most, got {width:,} values, "
            f"of {len(tables)} tables and the dense vector, and rank {rank:,}."
        )
    for scale, zero_point in zip(input_scales, input_zero_points, strict=True):
        check_scale(scale, zero_point)
    if output_scale is not None:
        check_scale(output_scale, output_zero_point)
    for index, (weight, multiplier, bias) in enumerate(zip(weights, multipliers, biases, strict=True)):
        inputs, outputs = (rank, width) if index % 2 else (width, rank)
        check_layer(f"{'vw'[index % 2]} of cross layer {index // 2}", inputs, outputs, weight, multiplier, bias)
    indices, offsets = checked_lookups(indices, offsets, tables, dtypes, is_mean, dim, batch)
    if output_scale is None:
        out, output_step = torch.empty(batch, width), 1.0
    else:
        out, output_step = torch.empty(batch, round_up(width, BLOCK_IN), dtype=torch.uint8), output_scale
    raise_failure(
        kernels().cross(
            dense.contiguous(),
            indices,
            offsets,
            tables,
            dtypes,
            input_scales,
            input_zero_points,
            weights,
            multipliers,
            biases,
            rank,
            output_step,
            output_zero_point,
            is_mean,
            out,
        ),
        tables,
    )
    return out


def _fake(
    dense: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    input_scales: Sequence[float],
    input_zero_points: Sequence[int],
    weights: Sequence[Tensor],
    multipliers: Sequence[Tensor],
    biases: Sequence[Tensor],
    rank: int,
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    width = (len(tables) + 1) * dense.shape[1]
    if output_scale is None:
        return dense.new_empty(dense.shape[0], width)
    return dense.new_empty(dense.shape[0], round_up(width, BLOCK_IN), dtype=torch.uint8)


LOOKUP_CROSS = register(
    "lookup_cross(Tensor dense, Tensor indices, Tensor? offsets, Tensor[] tables, int[] dtypes, float[] input_scales, "
    "int[] input_zero_points, Tensor[] weights, Tensor[] multipliers, Tensor[] biases, int rank, float? output_scale, "
    "int output_zero_point, bool[] is_mean=[]) -> Tensor",
    lookup_cross,
    _fake,
)
