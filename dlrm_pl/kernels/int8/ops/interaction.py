"""Lookups, and the products of their vectors in integers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8.checks import check_scale, checked_lookups, interaction_width, raise_failure
from dlrm_pl.kernels.int8.ops.registration import register
from dlrm_pl.kernels.int8.rows import BLOCK_IN, MAX_DIM, MAX_TABLES, round_up
from dlrm_pl.kernels.int8.selection import kernels


def lookup_interaction(
    dense: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    diagonal: bool,
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    """Look up all tables and take every pairwise dot product in integers.

    Rows of int8 and int4 tables are used as they are stored. The dense vector, a row of another table, and the sum or
    mean of a bag of several rows are quantized to symmetric int8. The scale of each is its largest magnitude divided by
    127.

    Args:
        dense: float32 ``[B, D]``.
        indices: int64 ``[T, B]`` one-hot, in which only the rows must be contiguous, or ``[L]`` with offsets.
        offsets: None, or int64 ``[T * B + 1]``.
        tables: packed rows of each table, see ``row_bytes``.
        dtypes: dtype of each table as its position in ``TABLE_DTYPES``.
        diagonal: include the product of each vector with itself.
        output_scale: step of a uint8 result; None for a float32 result.
        output_zero_point: byte that stands for 0 in a uint8 result.
        is_mean: whether the bags of each table are averaged; empty: all are summed.

    Returns:
        The dense vector and the products in the order (1,0), (2,0), (2,1), ...: float32 ``[B, width]``, or uint8
        padded with zeros to a multiple of 64.

    Raises:
        LookupIndexError: an index is outside its table, or offsets are not in order; the message names sample and
            table.
        NonFiniteError: the dense vector, a sum or a mean is NaN or infinite; the message names the sample.
        ShapeError: the tensors do not fit together.
    """
    if dense.dim() != 2 or dense.dtype != torch.float32:
        raise ShapeError(f"The interaction takes a float32 dense vector [B, D], got {dense.dtype} {list(dense.shape)}.")
    batch, dim = dense.shape
    if not len(tables) <= MAX_TABLES or not 1 <= dim <= MAX_DIM:
        raise ShapeError(
            f"The int8 interaction takes up to {MAX_TABLES} tables of up to {MAX_DIM} values a row, got {len(tables)} "
            f"of {dim}. Choose interaction: fp32 in the recipe."
        )
    if output_scale is not None:
        check_scale(output_scale, output_zero_point)
    indices, offsets = checked_lookups(indices, offsets, tables, dtypes, is_mean, dim, batch)
    width = interaction_width(len(tables), dim, diagonal)
    if output_scale is None:
        out, scale = torch.empty(batch, width), 1.0
    else:
        out, scale = torch.empty(batch, round_up(width, BLOCK_IN), dtype=torch.uint8), output_scale
    raise_failure(
        kernels().interaction(
            dense.contiguous(),
            indices,
            offsets,
            tables,
            dtypes,
            diagonal,
            scale,
            output_zero_point,
            width,
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
    diagonal: bool,
    output_scale: float | None,
    output_zero_point: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    width = interaction_width(len(tables), dense.shape[1], diagonal)
    if output_scale is None:
        return dense.new_empty(dense.shape[0], width)
    return dense.new_empty(dense.shape[0], round_up(width, BLOCK_IN), dtype=torch.uint8)


LOOKUP_INTERACTION = register(
    "lookup_interaction(Tensor dense, Tensor indices, Tensor? offsets, Tensor[] tables, int[] dtypes, bool diagonal, "
    "float? output_scale, int output_zero_point, bool[] is_mean=[]) -> Tensor",
    lookup_interaction,
    _fake,
)
