"""Rows of days one after the other, as records: the label, the dense values, and the ids of each table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records
from dlrm_pl.data.formats.block_checksum import BlockChecksum, block_bytes
from dlrm_pl.data.formats.row_identity import MOST_BYTES, NUM_SAMPLES
from dlrm_pl.data.formats.torchrec.bag_tables import BagSettings, BagTables
from dlrm_pl.data.formats.torchrec.day import Day
from dlrm_pl.data.formats.torchrec.day_files import DayFiles
from dlrm_pl.data.formats.torchrec.mapped_file import Array
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.watched import FileState, Watch

RowNumbers = slice | npt.NDArray[np.int64]

_TOGETHER = 8192
_LABELS_TOGETHER = 1 << 20
_AGAIN = "Copy the file again, or make it again."


@dataclass(frozen=True)
class OpenDays:
    """Mapped arrays of days.

    Attributes:
        days: the days.
        ends: of each day, the number of rows of it and of those before.
        lookup: of each table int32 ``[rows, ids of a bag - 1]``; None where bags are not drawn.
        watch: checks that the files do not change.
    """

    days: tuple[Day, ...]
    ends: npt.NDArray[np.int64]
    lookup: tuple[Array | None, ...]
    watch: Watch


@dataclass(frozen=True)
class DayRows:
    """The rows of some days, or a range of them; each process maps the files for itself.

    Attributes:
        folder: folder of the files, for messages.
        files: files of the days.
        states: states of all files when the dataset was opened.
        columns: columns of the records.
        table_sizes: number of rows of each table.
        takes_remainder: whether ids are taken modulo the rows of their table, as TorchRec does with single ids.
        bags: settings and folder of the lookup tables by which bags are drawn; None where they are not.
        start: first row.
        stop: row after the last.
    """

    folder: Path
    files: tuple[DayFiles, ...]
    states: Mapping[Path, FileState]
    columns: Columns
    table_sizes: tuple[int, ...]
    takes_remainder: bool
    bags: tuple[BagSettings, Path] | None
    start: int
    stop: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.stop - self.start

    @property
    def path(self) -> Path:
        """What has the rows, for messages: the folder."""
        return self.folder

    def part(self, start: int, stop: int) -> DayRows:
        """Return rows from ``start`` to before ``stop``."""
        return replace(self, start=self.start + start, stop=self.start + stop)

    @property
    def opened(self) -> OpenDays:
        """This process's maps of the files.

        Raises:
            DataFormatError: a file was changed since the dataset was opened.
        """
        kept: tuple[int, OpenDays] | None = self.__dict__.get("_opened")
        if kept is None or kept[0] != os.getpid():
            days = tuple(Day.open(files, self.states) for files in self.files)
            watched = [file for day in days for file in day.watched]
            lookup: tuple[Array | None, ...] = (None,) * len(self.table_sizes)
            if self.bags is not None:
                tables = BagTables.open(self.bags[1], self.bags[0])
                lookup = tuple(tables.arrays)
                watched += [mapped.file for mapped in tables.mapped if mapped is not None]
            ends = np.cumsum([day.rows for day in days], dtype=np.int64)
            kept = os.getpid(), OpenDays(days, ends, lookup, Watch(watched))
            object.__setattr__(self, "_opened", kept)
        kept[1].watch.glance()
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the maps, since pickling them would copy the files."""
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def records(self, selection: RowNumbers) -> Records:
        """Return checked rows as records, int32 ``[B, record_ints]``.

        Args:
            selection: a slice with step 1, or row numbers; both count from ``start``.

        Raises:
            DataFormatError: a label is not 0 or 1, a dense value not a finite number, or an id negative or beyond its
                table; names the file, the row and the value.
        """
        if isinstance(selection, slice):
            rows = (
                np.arange(self.start, self.stop)[selection] if selection.step not in (None, 1) else self._run(selection)
            )
        else:
            rows = np.asarray(selection, np.int64) + self.start
        opened = self.opened
        records = np.empty((len(rows), self.columns.record_ints), np.int32)
        numbers = np.searchsorted(opened.ends, rows, side="right")
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            day = opened.days[number]
            before = int(opened.ends[number]) - day.rows
            self._read(day, rows[places] - before, records, places, opened.lookup)
        return records

    def _run(self, selection: slice) -> npt.NDArray[np.int64]:
        first, last, _ = selection.indices(len(self))
        return np.arange(self.start + first, self.start + max(first, last))

    def _read(self, day: Day, rows: Array, records: Records, places: Array, lookup: Sequence[Array | None]) -> None:
        """Write the records of a day's rows to their places."""
        labels = day.labels[rows, 0]
        if wrong := _first((labels < 0) | (labels > 1)):
            _refuse(day.files.labels, rows, wrong[0], f"the label is {labels[wrong[0]]}, but must be 0 or 1")
        dense = np.ascontiguousarray(day.dense[rows])
        if wrong := _first(~np.isfinite(dense)):
            name = self.columns.dense[wrong[1]].name
            _refuse(day.files.dense, rows, wrong[0], f"{name} is {dense[wrong]}, but must be a finite number")
        records[places, LABEL] = labels
        records[places, self.columns.dense_fields] = dense.view(np.int32)
        for table, fields in enumerate(self.columns.table_fields):
            ids = self._ids(day, rows, table)
            drawn = lookup[table]
            if drawn is not None:
                behind = drawn[ids[:, 0]]
                if wrong := _first((behind < 0) | (behind >= self.table_sizes[table])):
                    assert self.bags is not None
                    raise DataFormatError(
                        f"{self.bags[1]}: the lookup table {table} holds {behind[wrong]}, beyond the "
                        f"{self.table_sizes[table]:,} rows of its table. Delete the folder to draw the tables again."
                    )
                ids = np.concatenate([ids, behind], axis=1)
            records[places, fields] = ids

    def _ids(self, day: Day, rows: Array, table: int) -> Array:
        ids, size = day.ids[table][rows], self.table_sizes[table]
        where = f"{table}.npy of " if day.files.has_bags else ""
        if wrong := _first(ids < 0):
            _refuse(
                day.files.ids, rows, wrong[0], f"{where}table {table}: the id is {ids[wrong]}, but must not be negative"
            )
        if self.takes_remainder:
            return ids % size
        if wrong := _first(ids >= size):
            _refuse(
                day.files.ids,
                rows,
                wrong[0],
                f"{where}table {table}: the id is {ids[wrong]:,}, but the table has {size:,} rows",
            )
        return ids

    def single_label(self, start: int, stop: int) -> int | None:
        """Return the label that all rows of a range have; None if there are both labels, or no rows."""
        opened, label = self.opened, None
        for number, day in enumerate(opened.days):
            before = int(opened.ends[number]) - day.rows
            first, last = (min(max(row + self.start - before, 0), day.rows) for row in (start, stop))
            for block in range(first, last, _LABELS_TOGETHER):
                labels = day.labels[block : min(block + _LABELS_TOGETHER, last)]
                low, high = int(labels.min()), int(labels.max())
                if low != high or label not in (None, low):
                    return None
                label = low
        return label

    def count_positives(self) -> int:
        """Return the number of rows with the label 1."""
        opened, count = self.opened, 0
        for number, day in enumerate(opened.days):
            before = int(opened.ends[number]) - day.rows
            first, last = (min(max(row - before, 0), day.rows) for row in (self.start, self.stop))
            count += int(np.count_nonzero(day.labels[first:last]))
        return count

    def checksum(self, start: int, stop: int, stated: str | None = None) -> str:
        """A checksum of rows: that of a file of their records. Empty for more than 1 GiB of them.

        Args:
            start: first row.
            stop: row after the last.
            stated: is not used: these files state no checksum of rows.
        """
        if (stop - start) * self.columns.record_bytes > MOST_BYTES:
            return ""
        checksum = BlockChecksum(block_bytes(self.columns))
        for first in range(start, stop, _TOGETHER):
            records = self.records(slice(first, min(first + _TOGETHER, stop)))
            checksum.update(records.reshape(-1).view(np.uint8).data)
        return checksum.text()

    def identity(self, start: int, stop: int, stated: str | None = None) -> str:
        """A checksum of rows; of more than 1 GiB, of a sample of them and of what else tells files apart."""
        if checksum := self.checksum(start, stop):
            return checksum
        size = block_bytes(self.columns) // self.columns.record_bytes
        digest = hashlib.sha256()
        for state in self.states.values():
            digest.update(f"{state.size} {state.mtime_ns}".encode())
        for sample in range(NUM_SAMPLES):
            first = start + (stop - start - size) * sample // (NUM_SAMPLES - 1)
            digest.update(self.records(slice(first, first + size)).tobytes())
        return f"sample:{digest.hexdigest()}"


def _first(wrong: npt.NDArray[np.bool_]) -> tuple[int, ...] | None:
    """The place of the first wrong value; None if there is none."""
    if not wrong.any():
        return None
    return tuple(int(place) for place in np.unravel_index(int(wrong.argmax()), wrong.shape))


def _refuse(path: Path, rows: Array, place: int, reason: str) -> None:
    raise DataFormatError(f"{path}: row {int(rows[place]):,}: {reason}. {_AGAIN}")
