"""Columns of scored rows that are written next to their probabilities."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records, Split
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.names import require_names
from dlrm_pl.errors import ConfigurationError, DataFormatError

if TYPE_CHECKING:
    import pyarrow as pa

_RECORDS_AT_A_TIME = 8192


def column_names(keep: Sequence[str] | str | None) -> tuple[str, ...]:
    """Return the names of the columns to keep, which may be given as one comma-separated string."""
    if isinstance(keep, str):
        keep = [name.strip() for name in keep.split(",")]
    return tuple(name for name in keep or () if name)


class KeptColumns:
    """Tables of kept columns, in the order of the rows, waiting until the rows have been scored.

    One thread may add tables while another takes rows.

    Args:
        names: names of the columns, without duplicates.
        tables: iterator over the tables, instead of ``add``.

    Raises:
        ConfigurationError: a name is given twice or is that of the probability, or pyarrow is not installed.
    """

    def __init__(self, names: Sequence[str], tables: Iterator[pa.Table] = iter(())) -> None:  # noqa: B008 (empty)
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise ConfigurationError(f"keep has the column {twice} twice. Name each column once.")
        if "probability" in names:
            raise ConfigurationError(
                "A column named probability cannot be kept, because the output has a column of that name. Rename it."
            )
        arrow()
        self.names = tuple(names)
        self._more = tables
        self._tables: deque[pa.Table] = deque()
        self._lock = threading.Lock()

    def add(self, table: pa.Table) -> None:
        """Append the columns of the next rows."""
        with self._lock:
            self._tables.append(table.select(list(self.names)))

    def take(self, rows: int) -> pa.Table:
        """Remove and return the columns of the first rows, which must have been added."""
        parts = []
        with self._lock:
            while rows:
                first = self._tables.popleft() if self._tables else next(self._more)
                if first.num_rows > rows:
                    self._tables.appendleft(first.slice(rows))
                parts.append(first.slice(0, rows))
                rows -= parts[-1].num_rows
        return arrow().concat_tables(parts)

    def require(self, columns: Columns, where: str, *, labelled: bool = True) -> None:
        """Check that the names are names of columns.

        Args:
            columns: columns of the rows.
            where: source of the rows; begins the message.
            labelled: whether the rows have labels.

        Raises:
            DataFormatError: a name is not a column's; the message states it and the most similar column.
        """
        require_names(self.names, columns.names if labelled else columns.feature_names, where, of_schema=False)


def table_of_text(text: bytes, columns: Columns, names: Sequence[str], *, labelled: bool) -> pa.Table:
    """Return columns of whole lines of a raw log, unchanged; an empty field is null."""
    pa = arrow()
    given = list(columns.names if labelled else columns.feature_names)
    places = [given.index(name) for name in names]
    fields = [line.rstrip(b"\r").split(b"\t") for line in text.split(b"\n") if line.rstrip(b"\r")]
    arrays = [pa.array([row[place].decode("ascii") or None for row in fields], pa.string()) for place in places]
    return pa.table(dict(zip(names, arrays, strict=True)))


def table_of_records(records: Records, columns: Columns, names: Sequence[str]) -> pa.Table:
    """Return columns of records: labels, stored dense values, and ids; lists if a column has them."""
    return arrow().table({name: _of_records(records, columns, name) for name in names})


def text_columns(table: pa.Table) -> pa.Table:
    """Return a table whose byte columns, such as those of a CSV file, are converted to strings.

    Raises:
        DataFormatError: a column is not UTF-8; the message names it.
    """
    pa = arrow()
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            try:
                table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
            except pa.ArrowInvalid:
                raise DataFormatError(
                    f"column {field.name} is not text in UTF-8 and cannot be kept. Leave it out of --keep."
                ) from None
    return table


def kept_of_split(folder: DatasetFolder, split: Split, names: Sequence[str]) -> KeptColumns:
    """Return columns of a split as its records hold them (ids, not categories), read as rows are taken.

    Raises:
        DataFormatError, ConfigurationError: see ``KeptColumns`` and its ``require``.
    """
    rows, columns = folder.rows(split), folder.columns
    starts = range(0, len(rows), _RECORDS_AT_A_TIME)
    parts = (rows.records(slice(start, start + _RECORDS_AT_A_TIME)) for start in starts)
    kept = KeptColumns(names, (table_of_records(records, columns, names) for records in parts))
    kept.require(columns, str(rows.path))
    return kept


def _of_records(records: Records, columns: Columns, name: str) -> Any:
    pa = arrow()
    if name == columns.label:
        return pa.array(records[:, LABEL].astype(np.int8))
    kind, place = columns.find(name)
    if kind == "dense":
        values = np.ascontiguousarray(records[:, 1 + place])
        return pa.array(values.view("<f4") if columns.dense[place].holds_float else values)
    ids = np.ascontiguousarray(records[:, columns.table_fields[place]])
    if not columns.sparse[place].is_list:
        return pa.array(ids[:, 0])
    present = ids >= 0  # Negative ids are the absent elements of shorter lists.
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids[present]))
