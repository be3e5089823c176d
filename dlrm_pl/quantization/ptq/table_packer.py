"""Pack float tables into row-wise int8, int4 or fp16, block by block and only once for all trials."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.files.mapped import madvise
from dlrm_pl.kernels.int8.ops import pack_rows_into
from dlrm_pl.kernels.int8.pages import empty_table
from dlrm_pl.model.checkpoints.checksum import ParameterChecksum, segment_rows
from dlrm_pl.runtime.table_file import map_table, storage_dtype, write_table
from dlrm_pl.runtime.table_name import file_name
from dlrm_pl.runtime.tables import TableDtype, row_bytes


class TablePacker:
    """Packs one model's tables on demand, and keeps the results for all trials.

    With a folder, each packed table is written to a file there and memory-mapped, so memory does not grow with the
    tables. Without one, packed tables are kept in memory, on large pages.

    Args:
        tables: float32 ``[rows, D]`` tables, not copied. If memory-mapped, they may be larger than the memory.
        folder: folder for files of packed tables.
        allow_nonfinite: read NaN and infinity as 0 instead of refusing the table.
        progress: called with the number of bytes of float rows that were read.
        row_checksums: checksums of the tables, filled in when a table is first read.
    """

    def __init__(
        self,
        tables: Sequence[Tensor],
        folder: Path | None = None,
        *,
        allow_nonfinite: bool = False,
        progress: Callable[[int], None] | None = None,
        row_checksums: Sequence[ParameterChecksum] = (),
    ) -> None:
        self._tables = [table.detach() for table in tables]
        self._folder = folder
        self._allow_nonfinite = allow_nonfinite
        self._progress = progress or (lambda size: None)
        self._row_checksums = row_checksums
        self._packed: dict[tuple[int, TableDtype], Tensor] = {}
        self._checksums: dict[tuple[int, TableDtype], str] = {}
        self._buffers: list[Tensor] = []
        self.nonfinite_rows: dict[int, int] = {}
        """Number of rows with NaN or infinity by table, for packed tables that have any."""

    @property
    def patches(self) -> dict[str, list[str]]:
        """Files with changed rows, by the op of their table; these tables have none."""
        return {}

    @property
    def patched(self) -> dict[int, Tensor]:
        """Tables, by number, that are memory maps of their files with such rows applied."""
        return {}

    def packed(self, dtypes: Sequence[TableDtype]) -> list[Tensor]:
        """Return tables in the given dtypes: uint8 ``[rows, row_bytes]`` for int8 and int4, else float ``[rows, D]``.

        A table that stays fp32 shares the memory of the float table, unless values in it may be replaced.

        Raises:
            NonFiniteError: a table holds NaN or infinity, which would silently spoil the scale of a row (the message
                counts such rows in all tables), or a value that fp16 cannot hold.
            OSError: a file cannot be written.
        """
        result = []
        for index, dtype in enumerate(dtypes):
            key = (index, dtype)
            if key not in self._packed:
                shared = dtype == "fp32" and not self._allow_nonfinite
                self._packed[key] = self._tables[index] if shared else self._pack(index, dtype)
            result.append(self._packed[key])
        return result

    def keep(self, dtypes: Sequence[TableDtype]) -> dict[str, str]:
        """Keep only the files of these tables in the folder, and write missing ones, including fp32 ones.

        Returns:
            sha256 by name of the file.

        Raises:
            NonFiniteError, OSError: see ``packed``.
        """
        assert self._folder is not None
        wanted = set(enumerate(dtypes))
        for index, dtype in wanted - self._checksums.keys():
            self._pack(index, dtype)
        for index, dtype in self._checksums.keys() - wanted:
            (self._folder / file_name(index, dtype)).unlink()
            del self._checksums[index, dtype]
        return {file_name(*key): self._checksums[key] for key in sorted(wanted)}

    def _pack(self, index: int, dtype: TableDtype) -> Tensor:
        """Pack a table, into a file if there is a folder."""
        rows, dim = self._tables[index].shape
        self.nonfinite_rows.pop(index, None)  # They are counted again.
        if self._folder is not None:
            blocks = self._packed_blocks(index, dtype)
            path = self._folder / file_name(index, dtype)
            self._checksums[index, dtype] = write_table(path, dtype, rows, dim, blocks)
            return map_table(path)
        if dtype in ("int8", "int4"):
            packed = empty_table(rows, row_bytes(dtype, dim))
        else:
            packed = torch.empty(rows, dim, dtype=storage_dtype(dtype))
        for start, block in self._summed_blocks(index):
            self._pack_block(index, start, block, dtype, packed[start : start + len(block)])
        return packed

    def _packed_blocks(self, index: int, dtype: TableDtype) -> Iterator[Tensor]:
        """Packed rows in two alternating buffers: new memory would take longer than the packing."""
        rows, dim = self._tables[index].shape
        kind, row_size = storage_dtype(dtype), row_bytes(dtype, dim)
        needed = min(rows, segment_rows(dim)) * row_size
        if not self._buffers or len(self._buffers[0]) < needed:
            self._buffers = [torch.empty(needed, dtype=torch.uint8) for _ in range(2)]
        for start, block in self._summed_blocks(index):
            out = self._buffers[0][: len(block) * row_size].view(kind).view(len(block), -1)
            self._buffers.reverse()
            self._pack_block(index, start, block, dtype, out)
            yield out

    def _summed_blocks(self, index: int) -> Iterator[tuple[int, Tensor]]:
        """Blocks of ``_float_blocks``; other threads compute the table's checksum the first time that they are read."""
        checksum = self._row_checksums[index] if self._row_checksums else None
        if checksum is None or checksum.digest is not None:
            yield from self._float_blocks(index)
            return
        checksum.begin()
        try:
            for start, block in self._float_blocks(index):
                checksum.add(block)
                yield start, block
        except BaseException:
            checksum.stop()
            raise
        checksum.finish()

    def _float_blocks(self, index: int) -> Iterator[tuple[int, Tensor]]:
        """First row and rows of each block, while the next block is read ahead from the disk."""
        table = self._tables[index]
        size = segment_rows(table.shape[1])
        for start in range(0, table.shape[0], size):
            block = table[start : start + size]
            following = table[start + size : start + 2 * size]
            if len(following) and following.is_contiguous():
                madvise(following, mmap.MADV_WILLNEED)
            yield start, block
            self._progress(block.numel() * block.element_size())

    def _pack_block(self, index: int, start: int, block: Tensor, dtype: TableDtype, out: Tensor) -> None:
        row = pack_into(block, dtype, out)
        if row is None:
            return
        bad = int(rows_not_finite(block).sum())
        if bad:
            if not self._allow_nonfinite:
                raise self.refusal()
            self.nonfinite_rows[index] = self.nonfinite_rows.get(index, 0) + bad
            block = torch.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
            row = pack_into(block, dtype, out)
        if row is not None:
            raise self.unheld(index, start + row, block[row], dtype)

    @staticmethod
    def unheld(index: int, row: int, values: Tensor, dtype: TableDtype) -> NonFiniteError:
        """Make the error for a row whose finite values a dtype cannot represent."""
        return NonFiniteError(
            f"table {index}: row {row} holds {values.abs().max().item()}, which {dtype} cannot represent. Choose "
            "int8 or fp32 for this table."
        )

    def refusal(self) -> NonFiniteError:
        """Make the error that counts such rows in all tables, which are read to the end for this."""
        found = []
        for index, table in enumerate(self._tables):
            count, first = 0, -1
            for start, block in self._float_blocks(index):
                bad = rows_not_finite(block)
                if not count and bad.any():
                    first = start + int(bad.nonzero()[0])
                count += int(bad.sum())
            if count:
                found.append(f"table {index}: {count:,} of {table.shape[0]:,} rows, the first is row {first}")
        return NonFiniteError(
            f"Tables hold NaN or infinity ({'; '.join(found)}). The training diverged, or the checkpoint is corrupt. "
            "Set allow_nonfinite to read these values as 0."
        )


def pack_into(block: Tensor, dtype: TableDtype, out: Tensor) -> int | None:
    """Pack rows; return the first one that is not finite, or that fp16 cannot represent."""
    if dtype in ("int8", "int4"):
        return pack_rows_into(block, dtype, out)
    out.copy_(block)
    if dtype == "fp32" and bool(torch.isfinite(block.sum())):
        return None  # A finite sum has finite terms, and is cheaper than checking each.
    bad = rows_not_finite(out)
    return int(bad.nonzero()[0]) if bad.any() else None


def rows_not_finite(rows: Tensor) -> Tensor:
    """Return whether each row holds NaN or infinity."""
    return torch.isfinite(rows).all(dim=1).logical_not()
