"""A number for each row of a table, kept separately for ranges of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.file_tensor import BLOCK_BYTES, FileTensor, Storage
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.pieces import TensorInPieces


class ColumnRange(NamedTuple):
    """Numbers of all rows for a range of columns."""

    column: int
    columns: int
    sums: TensorInPieces


class RowSums(FileTensor):
    """Row-wise Adagrad's sums ``[rows]``: the mean squares of each row's gradients.

    If a table is divided by columns, each process has the means over its own columns. The mean over all columns is the
    average of these, weighted by the numbers of columns.

    Args:
        rows: number of rows of the table.
        columns: number of columns of the table.
        ranges: the numbers by range of columns; together, the ranges cover all columns.

    Raises:
        CheckpointError: a column is in no range, or in two of them.
    """

    def __init__(self, rows: int, columns: int, ranges: Sequence[ColumnRange]) -> None:
        self.shape, self.dtype = (rows,), torch.float32
        self._ranges = sorted(ranges)
        column = 0
        for one in self._ranges:
            if one.column != column:
                break
            column += one.columns
        if column != columns:
            raise CheckpointError(f"corrupt: column {column} of {columns} is not in one range of sums only")

    @property
    def files(self) -> tuple[OpenFile, ...]:
        """Files of its pieces."""
        return tuple({id(file): file for one in self._ranges for file in one.sums.files}.values())

    @property
    def storages(self) -> tuple[Storage, ...]:
        """Storages of its pieces."""
        return tuple(storage for one in self._ranges for storage in one.sums.storages)

    @property
    def crc32(self) -> int | None:
        """Checksum of the bytes in order; None if the numbers are computed from others."""
        return self._ranges[0].sums.crc32 if len(self._ranges) == 1 else None

    def check(self, name: str = "a tensor") -> None:
        """Compare all bytes with the checksums in the files, see ``TensorInPieces.check``."""
        for one in self._ranges:
            one.sums.check(name)

    def map(self) -> Tensor:
        """Map the numbers into memory; means are computed, and take memory."""
        return self._ranges[0].sums.map() if len(self._ranges) == 1 else self.read()

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Tensor]:
        """Yield the numbers in order, block by block, see ``StoredTensor.blocks``."""
        (rows,), width = self.shape, sum(one.columns for one in self._ranges)
        buffer = torch.empty(max(1, min(rows, block_bytes // self.dtype.itemsize)))
        for first in range(0, rows, len(buffer)):
            block = buffer[: min(len(buffer), rows - first)]
            self.fill(block, first, 0, width)
            yield block

    def fill(self, target: Tensor, row: int, column: int, columns: int) -> None:
        """Read the numbers of the rows from ``row`` on, for a range of columns.

        Args:
            target: tensor to fill, ``[rows]``.
            row: first row.
            column: first column of the range.
            columns: number of columns of the range.

        Raises:
            CheckpointError: a file was shortened.
        """
        shares = []
        for one in self._ranges:
            common = min(column + columns, one.column + one.columns) - max(column, one.column)
            if common > 0:
                shares.append((common, one.sums))
        if len(shares) == 1:  # Exactly the saved numbers.
            shares[0][1].fill(target, (row,))
            return
        total = torch.zeros(target.shape, dtype=torch.float64)
        part = torch.empty(target.shape, dtype=self.dtype)
        for common, sums in shares:
            sums.fill(part, (row,))
            total += part.double() * (common / columns)
        target.copy_(total)
