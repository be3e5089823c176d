"""Lookups alone, for a model that goes on in floats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8.checks import checked_lookups, raise_failure
from dlrm_pl.kernels.int8.ops.registration import register
from dlrm_pl.kernels.int8.selection import kernels


def lookup(
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    dim: int,
    batch: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    """Look up all tables and sum or average each bag, in float32.

    Args:
        indices: int64 ``[T, B]`` one-hot, in which only the rows must be contiguous, or ``[L]`` with offsets.
        offsets: None, or int64 ``[T * B + 1]``.
        tables: packed rows of each table, see ``row_bytes``.
        dtypes: dtype of each table as its position in ``TABLE_DTYPES``.
        dim: embedding dimension D.
        batch: number of samples B.
        is_mean: whether the bags of each table are averaged; empty: all are summed.

    Returns:
        float32 ``[B, T, D]``; an empty bag gives zeros.

    Raises:
        LookupIndexError: an index is outside its table, or offsets are not in order; the message names sample and
            table.
        ShapeError: the tensors do not fit together.
    """
    if dim < 1 or batch < 0:
        raise ShapeError(f"A lookup needs rows of at least one value and a batch of at least 0, got {dim} and {batch}.")
    indices, offsets = checked_lookups(indices, offsets, tables, dtypes, is_mean, dim, batch)
    out = torch.empty(batch, len(tables), dim)
    raise_failure(kernels().pooling(indices, offsets, tables, dtypes, is_mean, out), tables)
    return out


def _fake(
    indices: Tensor,
    offsets: Tensor | None,
    tables: Sequence[Tensor],
    dtypes: Sequence[int],
    dim: int,
    batch: int,
    is_mean: Sequence[bool] = (),
) -> Tensor:
    return indices.new_empty(batch, len(tables), dim, dtype=torch.float32)


LOOKUP = register(
    "lookup(Tensor indices, Tensor? offsets, Tensor[] tables, int[] dtypes, int dim, int batch, bool[] is_mean=[]) "
    "-> Tensor",
    lookup,
    _fake,
)
