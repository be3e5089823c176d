"""A file, or a folder of files, as chunks of rows."""

from __future__ import annotations

import copy
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawRows
from dlrm_pl.data.sources.arrays.table import Labels, convert
from dlrm_pl.data.sources.arrays.types import one_array
from dlrm_pl.data.sources.bad_rows import BadRow, Faults
from dlrm_pl.data.sources.cutting import ChunkCutter, has_long_values
from dlrm_pl.data.sources.days import Days
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.names import check_types, require_names
from dlrm_pl.data.sources.readers.arrow_file import ArrowFile
from dlrm_pl.data.sources.readers.csv_file import CsvFile
from dlrm_pl.data.sources.readers.endings import stated_format
from dlrm_pl.data.sources.readers.find import SourceFile, find_files
from dlrm_pl.data.sources.readers.parquet_file import ParquetFile
from dlrm_pl.data.sources.readers.table_file import Batch, TableFile

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 65_536
"""Number of rows in a chunk, unless a record is wide."""

_CHUNK_INTS = 2 << 20  # Maximum number of values in a chunk.
_LEAST_ROWS = 256
_MOST_HEADER = 1 << 20


@dataclass(frozen=True)
class RawChunk:
    """Rows of a file as they were read, which ``Source.convert`` turns into ``RawRows`` in any thread.

    Attributes:
        file: number of the file.
        first_row: number of the first row in the file.
        table: the columns.
        broken: rows that could not be split into columns.
    """

    file: int
    first_row: int
    table: pa.Table
    broken: tuple[BadRow, ...]

    @property
    def num_rows(self) -> int:
        """Number of rows, including bad ones."""
        return int(self.table.num_rows)


@dataclass(frozen=True)
class SourceChunk:
    """Rows of a chunk.

    Attributes:
        file: number of the file.
        first_row: number of the first row in the file.
        num_rows: number of rows of the file in the chunk, including bad ones.
        rows: the good rows, in order.
        days: day of each good row, int32 ``[B]``; None if the source is not divided into days.
        bad: the bad rows, with their numbers in the file, from 0.
        cut_lists: number of lists in good rows that were truncated.
    """

    file: int
    first_row: int
    num_rows: int
    rows: RawRows
    days: npt.NDArray[np.int32] | None
    bad: tuple[BadRow, ...]
    cut_lists: int


class Source:
    """Files whose rows have named columns; made by ``open_source``.

    Attributes:
        path: the file or folder.
        columns: the columns that are read.
        files: the files in order.
        chunk_rows: number of rows in each chunk, which depends only on the columns. The last chunk of a file may have
            fewer rows. So do chunks with long strings or lists, depending only on these strings and lists.
        labels: whether the rows have labels.
    """

    def __init__(
        self,
        path: Path,
        columns: Columns,
        files: Sequence[SourceFile],
        tables: Sequence[TableFile],
        labels: Labels,
        *,
        truncate_lists: bool,
        also: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.columns = columns
        self.files = tuple(files)
        self.labels: Labels = labels
        self.chunk_rows = chunk_rows(columns)
        self._tables = tuple(tables)
        self._truncate_lists = truncate_lists
        self._also = tuple(also)
        self._days: Days | None = None

    @property
    def num_rows(self) -> int | None:
        """Number of rows in all files; None if they must be read to know it, as in CSV."""
        counts = self.file_rows
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def file_rows(self) -> list[int | None]:
        """Number of rows in each file; None if it is not known."""
        return [table.num_rows for table in self._tables]

    @property
    def schemas(self) -> list[tuple[Path, pa.Schema]]:
        """Path, names and types of the columns of each file; all types are bytes in CSV."""
        return [(table.path, table.schema) for table in self._tables]

    @property
    def size_bytes(self) -> int:
        """Total size of all files."""
        return sum(file.size_bytes for file in self.files)

    def raw_chunks(self, file: int = 0, first_row: int = 0, *, threads: bool = False) -> Iterator[RawChunk]:
        """Yield the chunks from a given one on, in order.

        Args:
            file: number of the file to start with.
            first_row: number of the row to start with, which must be the first of a chunk.
            threads: whether to read columns in several threads.

        Raises:
            DataFormatError: a file is damaged, or was changed since it was opened.
        """
        names = list(self.columns.feature_names if self.labels == "absent" else self.columns.names)
        column = self._days.column if self._days else None
        if column is not None and column.name not in names:
            names.append(column.name)
        names += [name for name in self._also if name not in names]
        yield from self._chunks_of(names, file, first_row, threads)

    def convert(self, chunk: RawChunk) -> SourceChunk:
        """Convert the rows of a chunk, and find bad ones.

        Raises:
            DataFormatError: the file was changed since it was opened; values may refer to its mapped pages.
        """
        with self.files[chunk.file].unchanged():
            return self._convert(chunk)

    def check_unchanged(self) -> None:
        """Check that all files are in the state in which they were opened.

        Raises:
            DataFormatError: a file was changed, replaced or removed.
        """
        for file in self.files:
            file.check_unchanged()

    def _convert(self, chunk: RawChunk) -> SourceChunk:
        arrays = {
            name: one_array(chunk.table.column(name)) for name in chunk.table.column_names if not self._is_extra(name)
        }
        faults = Faults(chunk.num_rows)
        for broken in chunk.broken:
            faults.note(broken._replace(row=broken.row - chunk.first_row))
        days = self._day_numbers(chunk, arrays, faults)
        rows, cut_lists = self._converted(arrays, faults)
        if faults.good is not None:
            good = arrow().array(faults.good)
            days = days if days is None else days[faults.good]
            arrays = {name: array.filter(good) for name, array in arrays.items()}
            rows, cut_lists = self._converted(arrays, Faults(int(faults.good.sum())))
        bad = faults.bad_rows(chunk.first_row)
        return SourceChunk(chunk.file, chunk.first_row, chunk.num_rows, rows, days, bad, cut_lists)

    def fault(self, file: int, bad: BadRow) -> str:
        """Describe what is wrong with a row, with its file and its number there, counted from 1 after any header.

        Args:
            file: number of the file.
            bad: the row.
        """
        return f"{self.files[file].path}, row {bad.row + 1}: {bad.reason}"

    def chunks(self, file: int = 0, first_row: int = 0) -> Iterator[SourceChunk]:
        """Yield the rows of the chunks from a given one on, in order; see ``raw_chunks``."""
        for chunk in self.raw_chunks(file, first_row):
            yield self.convert(chunk)

    def column_batches(self, name: str, file: int) -> Iterator[Batch]:
        """Yield one column of a file; see ``raw_chunks``."""
        return self._batches([name], file, 0, threads=False)

    def with_days(self, days: Days) -> Source:
        """Return the source with the day of each row in its chunks."""
        changed = copy.copy(self)
        changed._days = days
        return changed

    def _is_extra(self, name: str) -> bool:
        return name in self._also and name not in self.columns.names

    def _day_numbers(
        self, chunk: RawChunk, arrays: Mapping[str, pa.Array], faults: Faults
    ) -> npt.NDArray[np.int32] | None:
        if self._days is None:
            return None
        column = self._days.column
        array = None if column is None else arrays[column.name]
        return self._days.numbers(chunk.file, chunk.first_row, chunk.num_rows, array, faults)

    def _converted(self, arrays: Mapping[str, pa.Array], faults: Faults) -> tuple[RawRows, int]:
        return convert(arrays, self.columns, faults, labels=self.labels, truncate_lists=self._truncate_lists)

    def _batches(self, names: Sequence[str], file: int, first_row: int, *, threads: bool) -> Iterator[Batch]:
        batches = self._tables[file].batches(names, first_row, self.chunk_rows, threads=threads)
        while True:
            with self.files[file].unchanged():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _chunks_of(self, names: Sequence[str], file: int, first_row: int, threads: bool) -> Iterator[RawChunk]:
        sized = frozenset(column.name for column in self.columns.sparse if has_long_values(column))
        for index in range(file, len(self._tables)):
            row = first_row if index == file else 0
            cutter = ChunkCutter(self.chunk_rows, sized)
            broken: list[BadRow] = []
            for batch in self._batches(names, index, row, threads=threads):
                if not batch.table.num_rows:
                    continue
                broken += batch.broken
                for table in cutter.add(batch.table):
                    yield RawChunk(index, row, table, _before(broken, row + table.num_rows))
                    row += table.num_rows
            for table in cutter.rest():
                yield RawChunk(index, row, table, tuple(broken))


def open_source(
    path: str | os.PathLike[str],
    columns: Columns,
    *,
    labels: Labels = "needed",
    truncate_lists: bool = False,
    also: Sequence[str] = (),
) -> Source:
    r"""Open a CSV, Parquet or Arrow file, or a folder of files of one of these formats, plain or compressed.

    The names of columns and, if a file states them, their types are checked now; rows are read later.

    Args:
        path: file or folder. Files of a folder are sorted by name, with numbers by value.
        columns: the columns to read; others in the files are not read.
        labels: ``needed``; ``optional``: the files may have no labels, or missing ones; or ``absent``: labels are not
            read.
        truncate_lists: whether to truncate lists that are longer than ``at_most``; otherwise, their rows are bad.
        also: names of further columns, of any type, to include in raw chunks.

    Raises:
        DataFormatError: a file is missing, damaged or of another format, or a column is missing, occurs twice, or has
            the wrong type; the message names it.
        ConfigurationError: pyarrow is not installed.

    Example:
        >>> from dlrm_pl import Columns, DenseColumn, SparseColumn
        >>> from dlrm_pl.data.sources.source import open_source
        >>> columns = Columns("click", (DenseColumn(name="hour"),), (SparseColumn(name="site"),))
        >>> with open("clicks.csv", "w") as file:
        ...     _ = file.write("site,hour,click\na,7,0\nb,8,1\n")
        >>> [chunk.rows.label.tolist() for chunk in open_source("clicks.csv", columns).chunks()]
        [[0, 1]]
    """
    arrow()
    files = find_files(Path(path))
    tables = []
    for file in files:
        with file.unchanged():
            tables.append(_table_file(file, columns))
    if labels == "optional" and not any(columns.label in table.schema.names for table in tables):
        labels = "absent"
    wanted = columns.feature_names if labels == "absent" else columns.names
    for file, table in zip(files, tables, strict=True):
        require_names(wanted, table.schema.names, str(table.path))
        require_names(also, table.schema.names, str(table.path), of_schema=False)
        check_types(table.schema, columns, str(table.path), labels, is_csv=file.format == "csv")
    return Source(Path(path), columns, files, tables, labels, truncate_lists=truncate_lists, also=also)


def holds_table(path: str | os.PathLike[str], columns: Columns) -> bool:
    """Return whether a path is for ``open_source``, not a Criteo-style raw log of lines without a header.

    Folders, and files whose names state a table format, hold tables. Other files do if the columns are not those of a
    raw log, or if their first line has the names of the features.

    Args:
        path: a file or folder, which may be missing, or the common beginning of raw logs' names.
        columns: the columns.
    """
    path = Path(path)
    if path.is_dir() or stated_format(path) in ("parquet", "arrow") or not columns.has_raw_text:
        return True
    if not path.is_file():
        return False
    if ".csv" in map(str.lower, path.suffixes):
        return True
    head = b""
    with suppress(OSError, EOFError, zlib.error), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as handle:
        head = handle.readline(_MOST_HEADER)
    return all(name.encode() in head for name in columns.feature_names)


def chunk_rows(columns: Columns) -> int:
    """Return the number of rows of a chunk: a power of two, fewer for wide records."""
    rows = CHUNK_ROWS
    while rows > _LEAST_ROWS and rows * columns.record_ints > _CHUNK_INTS:
        rows //= 2
    return rows


def _table_file(file: SourceFile, columns: Columns) -> TableFile:
    if file.format == "parquet":
        return ParquetFile(file.path)
    if file.format == "arrow":
        return ArrowFile(file.path, file.compression)
    return CsvFile(file.path, file.compression, columns.names, columns.not_raw_text)


def _before(broken: list[BadRow], row: int) -> tuple[BadRow, ...]:
    """Remove the bad rows before a row from a list, and return them."""
    count = sum(bad.row < row for bad in broken)
    found = tuple(broken[:count])
    del broken[:count]
    return found
