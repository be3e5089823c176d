"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.readers.compression import reading
from dlrm_pl.data.sources.readers.table_file import Batch

_BUFFER_BYTES = 1 << 20  # Columns are read in pieces of this size, not in whole row groups.
_BATCH_BYTES = 16 << 20  # Approximate size of a batch.
_FIRST_ROWS = 256


class ParquetFile:
    """A Parquet file; see ``TableFile``.

    Raises:
        DataFormatError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        pa = arrow()
        with reading(path), pa.parquet.ParquetFile(str(path)) as file:
            self.schema = file.schema_arrow
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            self._group_rows = [group.num_rows for group in groups]
        self.num_rows: int | None = sum(self._group_rows)

    def batches(self, names: Sequence[str], first_row: int, most_rows: int, *, threads: bool) -> Iterator[Batch]:
        """Yield the rows from a given one on, in order; see ``TableFile``."""
        pa = arrow()
        groups: list[int] = []
        skip = first_row
        for index, rows in enumerate(self._group_rows):
            if not groups and skip >= rows:
                skip -= rows
            else:
                groups.append(index)
        if not groups:
            return
        with reading(self.path), pa.parquet.ParquetFile(str(self.path), buffer_size=_BUFFER_BYTES) as file:
            # The sizes that the file states are after encoding, and may be far smaller than the values in memory.
            first = next(file.iter_batches(_FIRST_ROWS, groups[:1], columns=list(names), use_threads=False))
            row_bytes = max(1, first.nbytes // max(1, first.num_rows))
            most_rows = min(most_rows, max(_FIRST_ROWS, _BATCH_BYTES // row_bytes))
            for batch in file.iter_batches(most_rows, groups, columns=list(names), use_threads=threads):
                kept = batch.slice(skip)
                skip -= min(skip, batch.num_rows)
                if kept.num_rows:
                    yield Batch(pa.Table.from_batches([kept]).select(list(names)))
