"""Rows of consecutive days as records: the label, the dense values, and the ids of each table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from dlrm_pl.data.formats.binary_format import LABEL, Records
from dlrm_pl.data.formats.torchrec.array_rows import ArrayRows, RowNumbers, first_place
from dlrm_pl.data.formats.torchrec.day import Day
from dlrm_pl.data.formats.torchrec.day_files import DayFiles
from dlrm_pl.data.formats.torchrec.mapped_file import Array
from dlrm_pl.errors import DataFormatError

_AGAIN = "Copy the file again, or make it again."


@dataclass(frozen=True, kw_only=True)
class DayRows(ArrayRows):
    """Rows of some days in TorchRec's format, or a range of them.

    Attributes:
        files: files of the days.
    """

    files: tuple[DayFiles, ...]

    def mapped(self) -> tuple[Day, ...]:
        """Map the files."""
        return tuple(Day.open(files, self.states) for files in self.files)

    def records(self, selection: RowNumbers) -> Records:
        """Return checked rows as records, see ``ArrayRows``."""
        opened, rows = self.opened, self.numbers(selection)
        records = np.empty((len(rows), self.columns.record_ints), np.int32)
        numbers = np.searchsorted(opened.ends, rows, side="right")
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            day = opened.days[number]
            assert isinstance(day, Day)
            before = int(opened.ends[number]) - day.rows
            self._read(day, rows[places] - before, records, places)
        return records

    def _read(self, day: Day, rows: Array, records: Records, places: Array) -> None:
        """Write the records of a day's rows to their places."""
        labels = day.labels[rows, 0]
        if wrong := first_place((labels < 0) | (labels > 1)):
            _refuse(day.files.labels, rows, wrong[0], f"the label is {labels[wrong[0]]}, but must be 0 or 1")
        dense = np.ascontiguousarray(day.dense[rows])
        if wrong := first_place(~np.isfinite(dense)):
            name = self.columns.dense[wrong[1]].name
            _refuse(day.files.dense, rows, wrong[0], f"{name} is {dense[wrong]}, but must be a finite number")
        records[places, LABEL] = labels
        records[places, self.columns.dense_fields] = dense.view(np.int32)
        for table, fields in enumerate(self.columns.table_fields):
            records[places, fields] = self.bag(self._ids(day, rows, table), table, self.opened.lookup[table])

    def _ids(self, day: Day, rows: Array, table: int) -> Array:
        ids, size = day.ids[table][rows], self.table_sizes[table]
        where = f"{table}.npy of table {table}" if day.files.has_bags else f"table {table}"
        if wrong := first_place(ids < 0):
            _refuse(day.files.ids, rows, wrong[0], f"{where}: the id is {ids[wrong]}, but must not be negative")
        if self.takes_remainder:
            return ids % size
        if wrong := first_place(ids >= size):
            reason = f"{where}: the id is {ids[wrong]:,}, but the table has {size:,} rows"
            _refuse(day.files.ids, rows, wrong[0], reason)
        return ids


def _refuse(path: Path, rows: Array, place: int, reason: str) -> NoReturn:
    raise DataFormatError(f"{path}: row {int(rows[place]):,}: {reason}. {_AGAIN}")
