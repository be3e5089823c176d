"""Row-wise quantized embedding tables: pooled lookups on plain tensors.

The layouts are the ones that PyTorch and FBGEMM share: int8 rows are D bytes + fp32 scale + fp32 bias, int4 rows
are D/2 bytes + fp16 scale + fp16 bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.errors import ShapeError
from dlrm_pl.model.embeddings import split_bags

TableDtype = Literal["int8", "int4", "fp16", "fp32"]
TABLE_DTYPES: tuple[TableDtype, ...] = get_args(TableDtype)


def row_bytes(dtype: TableDtype, embedding_dim: int) -> int:
    """Bytes of one packed row of ``embedding_dim`` values."""
    return {
        "int8": embedding_dim + 8,
        "int4": (embedding_dim + 1) // 2 + 4,
        "fp16": 2 * embedding_dim,
        "fp32": 4 * embedding_dim,
    }[dtype]


class PackedTables(nn.Module):
    """All tables behind one lookup, each in its own dtype; takes the place of ``EmbeddingBags``.

    Args:
        tables: packed rows: uint8 ``[rows, row_bytes]`` for int8 and int4, float16 or float32 ``[rows, D]`` else.
            Referenced, never copied.
        dtypes: one for each table.
        embedding_dim: D.

    Raises:
        ShapeError: a table's shape or type is not what its dtype says.
    """

    def __init__(self, tables: Sequence[Tensor], dtypes: Sequence[TableDtype], embedding_dim: int) -> None:
        super().__init__()
        self.dtypes: tuple[TableDtype, ...] = tuple(dtypes)
        self.embedding_dim = embedding_dim
        self.num_tables = len(tables)
        for index, (table, dtype) in enumerate(zip(tables, dtypes, strict=True)):
            expected = {"fp16": torch.float16, "fp32": torch.float32}.get(dtype, torch.uint8)
            width = row_bytes(dtype, embedding_dim) // expected.itemsize
            if table.dtype != expected or table.dim() != 2 or table.shape[1] != width:
                raise ShapeError(
                    f"table {index}: {dtype} rows of dim {embedding_dim} are {expected} [rows, {width}], "
                    f"got {table.dtype} {list(table.shape)}."
                )
            self.register_buffer(f"table_{index}", table)

    def table(self, index: int) -> Tensor:
        """The packed rows of one table."""
        return self.get_buffer(f"table_{index}")

    def forward(self, indices: Tensor, offsets: Tensor | None) -> Tensor:
        """Pool the rows of each bag by summing.

        Args:
            indices: as in ``ClickBatch``: int64 ``[T, B]`` one-hot, or ``[L]`` with ``offsets``.
            offsets: None, or int64 ``[T * B + 1]``.

        Returns:
            float32 ``[B, T, D]``.
        """
        if offsets is None:
            if indices.dim() != 2 or indices.shape[0] != self.num_tables:
                raise ShapeError(f"{self.num_tables} tables need indices [T, B], got {list(indices.shape)}.")
            size = indices.shape[1]
            starts = torch.arange(size, dtype=indices.dtype)
            bags = [(indices[table], starts) for table in range(self.num_tables)]
        else:
            size = (offsets.numel() - 1) // self.num_tables
            bags = split_bags(indices, offsets, self.num_tables)
        pooled = indices.new_empty((size, self.num_tables, self.embedding_dim), dtype=torch.float32)
        for index, (rows, starts) in enumerate(bags):
            pooled[:, index] = _pool(self.table(index), self.dtypes[index], rows.contiguous(), starts)
        return pooled


def _pool(table: Tensor, dtype: TableDtype, rows: Tensor, starts: Tensor) -> Tensor:
    """Sum the rows of each bag; an index outside the table raises in every dtype."""
    result: Tensor
    if dtype == "int8":
        result = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(table, rows, starts)
    elif dtype == "int4":
        result = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(table, rows, starts)
    else:
        result = F.embedding_bag(rows, table, starts, mode="sum").float()
    return result
