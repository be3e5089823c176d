"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.readers.table_file import Batch
from dlrm_pl.errors import DataFormatError

_BUFFER_BYTES = 1 << 20  # Read columns in pieces, not whole row groups at once.


class ParquetFile:
    """A Parquet file; see ``TableFile``.

    Raises:
        DataFormatError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        pa = arrow()
        try:
            with pa.parquet.ParquetFile(str(path)) as file:
                self.schema = file.schema_arrow
                groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
                self._group_rows = [group.num_rows for group in groups]
        except (pa.ArrowInvalid, OSError) as error:
            raise _damaged(path, error) from None
        self.num_rows: int | None = sum(self._group_rows)

    def batches(self, names: Sequence[str], first_row: int, most_rows: int, *, threads: bool) -> Iterator[Batch]:
        """Yield the rows from one on, in order; see ``TableFile``."""
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
        try:
            with pa.parquet.ParquetFile(str(self.path), buffer_size=_BUFFER_BYTES) as file:
                for batch in file.iter_batches(most_rows, groups, columns=list(names), use_threads=threads):
                    kept = batch.slice(skip)
                    skip -= min(skip, batch.num_rows)
                    if kept.num_rows:
                        yield Batch(pa.Table.from_batches([kept]).select(list(names)))
        except (pa.ArrowInvalid, OSError) as error:
            raise _damaged(self.path, error) from None


def _damaged(path: Path, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataFormatError(f"{path}: is truncated or corrupt ({text}). Get it again.")
