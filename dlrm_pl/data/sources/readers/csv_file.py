"""CSV files, with commas or other separators. All values are read as bytes, so that no type is guessed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlrm_pl.data.sources.bad_rows import BadRow, shown_value
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.names import shown_name
from dlrm_pl.data.sources.readers.compression import open_unpacked, reading
from dlrm_pl.data.sources.readers.header import read_header
from dlrm_pl.data.sources.readers.table_file import Batch
from dlrm_pl.errors import DataFormatError

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 2 << 20
"""Maximum length of a row whose values are quoted."""

_MIXED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


class CsvFile:
    """A CSV file with a header; see ``TableFile``.

    Rows are counted from the first one after the header; blank lines do not count. An empty value is null, unless it is
    quoted.

    Args:
        path: path of the file.
        compression: compression of the file.
        wanted: names of columns that should be there, by which the separator is found.
        not_raw_text: name of one of these columns that a raw log cannot have, for the message if there is no header.

    Raises:
        DataFormatError: the file has no header.
    """

    num_rows: int | None = None

    def __init__(self, path: Path, compression: str | None, wanted: Sequence[str], not_raw_text: str = "") -> None:
        self.path = path
        self._compression = compression
        self._names, self._separator = read_header(path, compression, wanted, not_raw_text)
        pa = arrow()
        self.schema = pa.schema([pa.field(name, pa.binary()) for name in self._names])

    def batches(self, names: Sequence[str], first_row: int, most_rows: int, *, threads: bool) -> Iterator[Batch]:
        """Yield the rows from a given one on, in order; see ``TableFile``."""
        del most_rows, threads
        pa = arrow()
        names = list(names)
        # An unclosed quote makes the rest of the file one value, which goes unnoticed only in an unread last column.
        hidden = self._names[-1] not in names and self._names.count(self._names[-1]) == 1
        row = 0
        last: Any = None
        invalid: list[Any] = []
        with reading(self.path), open_unpacked(self.path, self._compression) as handle:
            text = _CountedText(handle)
            for batch in self._record_batches(text, [*names, self._names[-1]] if hidden else names, invalid):
                table = pa.Table.from_batches([batch])
                last = table.slice(table.num_rows - 1) if table.num_rows else last
                table, broken = _with_broken_rows(table.select(names), row, invalid)
                first, row = row, row + table.num_rows
                if row > first_row:
                    table = table.slice(max(first_row - first, 0))
                    yield Batch(table, tuple(bad for bad in broken if bad.row >= first_row))
            if invalid:
                nothing = pa.schema([(name, pa.binary()) for name in names]).empty_table()
                table, broken = _with_broken_rows(nothing, row, invalid)
                skipped = max(first_row - row, 0)
                yield Batch(table.slice(skipped), broken[skipped:])
            if text.quotes % 2 and last is not None:
                self._check_last_row(last, row)

    def _record_batches(self, text: _CountedText, names: Sequence[str], invalid: list[Any]) -> Iterator[Any]:
        try:
            with _without_traceback():
                reader = self._open(text, names, invalid)
            while True:
                with _without_traceback():
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch
        except arrow().ArrowInvalid as error:
            if "Empty CSV file" not in str(error):  # Header without a newline, and no rows.
                raise self._wrong(error) from None

    def _open(self, text: _CountedText, names: Sequence[str], invalid: list[Any]) -> Any:
        pa = arrow()

        def skip(row: Any) -> str:
            invalid.append(row)
            return "skip"

        return pa.csv.open_csv(
            pa.PythonFile(text, mode="r"),
            # Invalid rows have row numbers only with a single thread.
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(
                delimiter=self._separator, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=pa.csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _check_last_row(self, last: pa.Table, rows: int) -> None:
        for name in last.column_names:
            value = last.column(name)[0].as_py() or b""
            if b"\n" in value or b"\r" in value:
                raise DataFormatError(
                    f"{self.path}: its last row, {rows}, has an unclosed quote: column {shown_name(name)} is "
                    f"{shown_value(value)}, up to the end of the file. Close the quote, or write the file again."
                )

    def _wrong(self, error: Exception) -> DataFormatError:
        text = str(error).splitlines()[0]
        if wrong := _MIXED.search(text):
            row, expected, has = map(int, wrong.groups())
            return DataFormatError(
                f"{self.path}: row {row - 1}: has {has} fields; expected {expected}, as in the header. The row is "
                "not UTF-8 text. Write the file again, or as Parquet."
            )
        if "straddling" in text:
            return DataFormatError(
                f"{self.path}: has a row of more than {_BLOCK_BYTES:,} bytes. Is a quote not closed? Write the file "
                "again, or as Parquet."
            )
        return DataFormatError(f"{self.path}: cannot be read as CSV ({text}). Write it again, or as Parquet.")


@contextmanager
def _without_traceback() -> Iterator[None]:
    """Print no traceback if pyarrow cannot decode a row to report it; an error with the row's number follows."""
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


class _CountedText:
    """A file for pyarrow that counts quotes on the way, and ends with a newline.

    Without a newline at the end, pyarrow takes an empty last value for a quoted one if another value in its row is
    quoted.
    """

    closed = False

    def __init__(self, handle: pa.NativeFile) -> None:
        self.quotes = 0
        self._end = b""
        self._handle = handle

    def read(self, size: int) -> bytes:
        """Read bytes, fewer than requested only at the end, since each read should hold a whole row."""
        parts: list[bytes] = []
        while size and (data := self._handle.read(size)):
            parts.append(data)
            size -= len(data)
            self._end = data[-1:]
        if size and self._end not in (b"", b"\n", b"\r"):
            parts.append(b"\n")
            self._end = b"\n"
        text = parts[0] if len(parts) == 1 else b"".join(parts)
        self.quotes += text.count(b'"')
        return text

    def readable(self) -> bool:
        """Return that the file can be read."""
        return True


def _with_broken_rows(table: pa.Table, first: int, invalid: list[Any]) -> tuple[pa.Table, tuple[BadRow, ...]]:
    """Put a row of nulls at each place where a row was left out.

    Args:
        table: rows, without those left out.
        first: number of the first row in the file.
        invalid: rows that were left out, in order; those that are put into the table are removed from this list.
    """
    pa = arrow()
    broken: list[BadRow] = []
    while invalid and (row := invalid[0].number - 2) <= first + table.num_rows + len(broken):
        wrong = invalid.pop(0)
        has = f"{wrong.actual_columns} {'field' if wrong.actual_columns == 1 else 'fields'}"
        begins = f": {shown_value(wrong.text)}" if wrong.text else ""
        broken.append(BadRow(row, "", "fields", has + begins, f"{wrong.expected_columns}, as in the header"))
    if not broken:
        return table, ()
    places = np.zeros(table.num_rows + len(broken), np.bool_)
    places[[bad.row - first for bad in broken]] = True
    sources = np.cumsum(~places) - 1
    if not table.num_rows:
        empty = {name: pa.nulls(len(broken), pa.binary()) for name in table.column_names}
        return pa.table(empty), tuple(broken)
    return table.take(pa.array(np.where(places, 0, sources), mask=places)), tuple(broken)
