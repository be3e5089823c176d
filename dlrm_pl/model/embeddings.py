"""All embedding tables behind one lookup."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.batch import bags_of_tables
from dlrm_pl.errors import ShapeError
from dlrm_pl.files.large_pages import on_large_pages
from dlrm_pl.model.fused_tables import FusedTables

TABLE_KEY = "embedding_bags.tables.{}.weight"
"""Name of a table in the state dict of a ``DLRM``, with the number of the table left open."""


class EmbeddingBags(nn.Module):
    """Embedding tables that sum or average the rows of a bag, with sparse gradients.

    The state dict has ``tables.0.weight``, ``tables.1.weight``, ...: float32 ``[rows, D]`` each. They are initialized
    as in upstream (facebookresearch/dlrm), uniformly between -sqrt(1 / rows) and sqrt(1 / rows).

    Args:
        table_sizes: number of rows of each table.
        embedding_dim: width D of an embedding.
        is_mean: whether each table averages the rows of a bag; empty: all of them sum.

    Attributes:
        nonfinite_as_zero: read NaN and infinity in a table as 0; meant for tables with a few damaged rows.
        trains_upper_halves: in training, read only the upper 16 bits of each value, which form a bfloat16, as split SGD
            does; updates change all 32 bits. False: read whole values.
        fused: common storage of all tables while training on a GPU keeps them in one; otherwise None.
    """

    nonfinite_as_zero = False
    trains_upper_halves = False
    fused: FusedTables | None = None

    def __init__(self, table_sizes: Sequence[int], embedding_dim: int, is_mean: Sequence[bool] = ()) -> None:
        super().__init__()
        modes = ["mean" if mean else "sum" for mean in is_mean] or ["sum"] * len(table_sizes)
        # Modules rather than bare parameters: DistributedDataParallel recognizes sparse gradients by the module's
        # class.
        self.tables = nn.ModuleList()
        for rows, mode in zip(table_sizes, modes, strict=True):
            table = on_large_pages(torch.empty(rows, embedding_dim))
            bound = math.sqrt(1 / rows)
            table.uniform_(-bound, bound)
            self.tables.append(nn.EmbeddingBag(rows, embedding_dim, mode=mode, sparse=True, _weight=table))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the tables to a device, or convert them; tables in a common storage are moved together."""
        if self.fused is None:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            return self
        self.fused.move(fn)
        return self

    def weights(self) -> list[Tensor]:
        """Return the tables in order, without copying them."""
        return [weight.detach() for weight in self.parameters()]

    def rows(self, indices: Tensor, table: int) -> Tensor:
        """Look up rows of one table without pooling: indices ``[L]`` -> ``[L, D]``."""
        return self._rows(indices, list(self.parameters())[table])

    def forward(self, indices: Tensor, offsets: Tensor | None) -> Tensor:
        """Sum or average the rows of each bag; an empty bag gives zeros.

        Args:
            indices: as in ``ClickBatch``: one-hot int64 ``[T, B]``, or ``[L]`` with ``offsets``.
            offsets: None, or int64 ``[T * B + 1]``.

        Returns:
            ``[B, T, D]``.

        Raises:
            ShapeError: the indices or offsets are for another number of tables.
        """
        count = len(self.tables)
        if self.fused is not None and self.fused.serves and not self.nonfinite_as_zero:
            if offsets is None and (indices.dim() != 2 or indices.shape[0] != count):
                raise ShapeError(f"{count} tables need indices of shape [T, B], got {list(indices.shape)}.")
            return self.fused.lookup(indices, offsets)
        if offsets is None:
            if indices.dim() != 2 or indices.shape[0] != count:
                raise ShapeError(f"{count} tables need indices of shape [T, B], got {list(indices.shape)}.")
            # For bags of one row, a plain lookup is faster than an embedding bag.
            return torch.stack(
                [self._rows(rows, table) for rows, table in zip(indices, self.parameters(), strict=True)], dim=1
            )
        bags = split_bags(indices, offsets, count)
        if self.nonfinite_as_zero or self._reads_upper_halves:
            pooled = []
            for (rows, starts), table in zip(bags, self._modules_of_tables(), strict=True):
                each = torch.arange(len(rows), device=rows.device)
                pooled.append(F.embedding_bag(each, self._rows(rows, table.weight), starts, mode=table.mode))
        else:
            pooled = [table(rows, starts) for (rows, starts), table in zip(bags, self.tables, strict=True)]
        return torch.stack(pooled, dim=1)

    @property
    def _reads_upper_halves(self) -> bool:
        # Models that only score are often in training mode, but do not record gradients.
        return self.trains_upper_halves and self.training and torch.is_grad_enabled()

    def _modules_of_tables(self) -> list[nn.EmbeddingBag]:
        return [table for table in self.tables if isinstance(table, nn.EmbeddingBag)]

    def _rows(self, indices: Tensor, table: Tensor) -> Tensor:
        rows = F.embedding(indices, table, sparse=True)
        if self._reads_upper_halves:
            rows = rows - (rows - _upper_halves(rows)).detach()  # Both differences are exact; the gradient stays.
        return torch.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0) if self.nonfinite_as_zero else rows


def _upper_halves(values: Tensor) -> Tensor:
    """Return float32 values whose lower 16 bits are 0."""
    return (values.detach().view(torch.int32) & -65536).view(torch.float32)


def split_bags(indices: Tensor, offsets: Tensor, num_tables: int) -> list[tuple[Tensor, Tensor]]:
    """Cut a multi-hot batch into a pair (rows, starts of bags) for each table.

    Raises:
        ShapeError: the offsets do not fit the number of tables or of indices.
    """
    size, extra = divmod(offsets.numel() - 1, num_tables)
    if extra or size < 0 or offsets.dim() != 1:
        raise ShapeError(f"{offsets.numel()} offsets do not fit {num_tables} tables: T * B + 1 are needed.")
    first, last = int(offsets[0]), int(offsets[-1])
    if indices.dim() != 1 or first != 0 or last != indices.numel():
        raise ShapeError(
            f"Offsets from {first} to {last} do not fit indices of shape {list(indices.shape)}: they must run from 0 "
            "to L."
        )
    return [(rows, bounds[:-1]) for rows, bounds in bags_of_tables(indices, offsets, num_tables)]
