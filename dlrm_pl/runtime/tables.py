"""Row-wise quantized embedding tables: pooled lookups on plain tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.int8 import ops  # noqa: F401 (registers the ops)
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES, TableDtype, row_bytes

__all__ = ["TABLE_DTYPES", "PackedTables", "TableDtype", "row_bytes"]


class PackedTables(nn.Module):
    """All tables behind one lookup, each in its own dtype, in place of ``EmbeddingBags``.

    Args:
        tables: packed rows of each table: uint8 ``[rows, row_bytes]`` for int8 and int4, otherwise float16 or float32
            ``[rows, D]``. Referenced, never copied.
        dtypes: dtype of each table.
        embedding_dim: embedding dimension D.
        is_mean: whether each table averages the rows of a bag; empty: all of them sum.

    Raises:
        ShapeError: the shape or type of a table does not fit its dtype.
    """

    def __init__(
        self,
        tables: Sequence[Tensor],
        dtypes: Sequence[TableDtype],
        embedding_dim: int,
        is_mean: Sequence[bool] = (),
    ) -> None:
        super().__init__()
        self.is_mean = list(is_mean) if any(is_mean) else []
        """Flags as the kernels take them; without any, the kernels take a faster path for sums."""
        self.dtypes: tuple[TableDtype, ...] = tuple(dtypes)
        self.embedding_dim = embedding_dim
        self.num_tables = len(tables)
        self.codes = [TABLE_DTYPES.index(dtype) for dtype in self.dtypes]
        """Dtypes as their positions in ``TABLE_DTYPES``, as the kernels take them."""
        for index, (table, dtype) in enumerate(zip(tables, dtypes, strict=True)):
            expected = {"fp16": torch.float16, "fp32": torch.float32}.get(dtype, torch.uint8)
            width = row_bytes(dtype, embedding_dim) // expected.itemsize
            if table.dtype != expected or table.dim() != 2 or table.shape[1] != width:
                raise ShapeError(
                    f"table {index}: {dtype} rows of dim {embedding_dim} must be {expected} [rows, {width}], "
                    f"got {table.dtype} {list(table.shape)}."
                )
            self.register_buffer(f"table_{index}", table)
        # A list in addition to the buffers: collecting the buffers again takes longer than scoring a small batch.
        self._tables = [table.detach() for table in tables]

    def table(self, index: int) -> Tensor:
        """Return the packed rows of one table."""
        return self._tables[index]

    def all(self) -> list[Tensor]:
        """Return the packed rows of all tables."""
        return self._tables

    def forward(self, indices: Tensor, offsets: Tensor | None) -> Tensor:
        """Sum or average the rows of each bag.

        Args:
            indices: as in ``ClickBatch``: int64 ``[T, B]`` one-hot, or ``[L]`` with ``offsets``.
            offsets: None, or int64 ``[T * B + 1]``.

        Returns:
            float32 ``[B, T, D]``; an empty bag gives zeros.

        Raises:
            LookupIndexError: an index is outside its table.
            ShapeError: the indices or offsets are for a different number of tables.
        """
        if offsets is not None:
            batch = (offsets.numel() - 1) // max(self.num_tables, 1)
        else:
            batch = indices.shape[-1] if indices.dim() else 0
        result: Tensor = torch.ops.dlrm_pl.lookup(
            indices, offsets, self._tables, self.codes, self.embedding_dim, batch, self.is_mean
        )
        return result
