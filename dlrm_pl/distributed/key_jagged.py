"""Convert the lookups of a batch to TorchRec's KeyedJaggedTensor, which has the same layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.errors import LookupIndexError, ShapeError


def lengths_of(indices: Tensor, offsets: Tensor | None, num_tables: int) -> Tensor:
    """Return the number of rows in each bag, int64 ``[T, B]``.

    Args:
        indices: as in ``ClickBatch``: one-hot int64 ``[T, B]``, or ``[L]`` with ``offsets``.
        offsets: None, or int64 ``[T * B + 1]``.
        num_tables: number of tables T.

    Raises:
        ShapeError: the indices or offsets are for another number of tables.
    """
    if offsets is None:
        if indices.dim() != 2 or indices.shape[0] != num_tables:
            raise ShapeError(f"{num_tables} tables need indices of shape [T, B], got {list(indices.shape)}.")
        return torch.ones_like(indices)
    if offsets.dim() != 1 or (offsets.numel() - 1) % num_tables:
        raise ShapeError(f"{offsets.numel()} offsets do not fit {num_tables} tables: T * B + 1 are needed.")
    return offsets.diff().view(num_tables, -1)


def check_indices(indices: Tensor, lengths: Tensor, sizes: Tensor) -> None:
    """Check that all indices are in their tables: otherwise TorchRec would access memory out of bounds.

    Args:
        indices: table rows to look up, in the order of a ``ClickBatch``, ``[L]`` or ``[T, B]``.
        lengths: number of rows in each bag, ``[T, B]``.
        sizes: number of rows in each table, int64 ``[T]``.

    Raises:
        LookupIndexError: an index is negative, or not below the number of rows of its table.
    """
    flat = indices.flatten()
    limits = sizes.repeat_interleave(lengths.sum(1), output_size=flat.numel())
    wrong = (flat < 0) | (flat >= limits)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        table = int(torch.searchsorted(lengths.sum(1).cumsum(0), first, right=True))
        raise LookupIndexError(f"Table {table} has {int(limits[first])} rows, but the index is {int(flat[first])}.")


def key_jagged(keys: Sequence[str], indices: Tensor, lengths: Tensor, size: int) -> Any:
    """Make a KeyedJaggedTensor; bags beyond those of the batch are empty.

    Args:
        keys: names of the features, one for each table.
        indices: table rows to look up, those of table 0 first.
        lengths: number of rows in each bag, ``[T, B]``.
        size: number of bags of each table, at least B.
    """
    from torchrec import KeyedJaggedTensor

    padded = torch.nn.functional.pad(lengths, (0, size - lengths.shape[1]))
    return KeyedJaggedTensor(list(keys), indices.flatten(), lengths=padded.flatten(), stride=size)


def joined(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Concatenate several batches, keeping the order of samples.

    Args:
        batches: for each batch, its indices, those of table 0 first, and the lengths of its bags, ``[T, B]``.

    Returns:
        The indices and the lengths of all batches together.
    """
    lengths = torch.cat([part for _, part in batches], dim=1)
    tables = torch.arange(len(lengths), device=lengths.device)
    owners = torch.cat([tables.repeat_interleave(part.sum(1)) for _, part in batches])
    order = owners.argsort(stable=True)
    return torch.cat([indices.flatten() for indices, _ in batches])[order], lengths


class _Reordered(torch.autograd.Function):
    """Vectors in another order. Their gradients are copied back; indexing would add them to zeros."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return values.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return gradient.index_select(1, order.argsort()), None


def reordered(values: Tensor, order: Tensor) -> Tensor:
    """Return vectors ``[B, T, D]`` with the tables in another order.

    Args:
        values: the vectors.
        order: int64 ``[T]``, each number below T once.
    """
    result: Tensor = _Reordered.apply(values, order)  # type: ignore[no-untyped-call]
    return result
