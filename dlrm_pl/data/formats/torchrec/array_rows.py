"""Rows in mapped arrays, with stored or drawn bags: common base."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.data.formats.block_checksum import BlockChecksum, block_bytes
from dlrm_pl.data.formats.row_identity import MOST_BYTES, NUM_SAMPLES
from dlrm_pl.data.formats.torchrec.bag_tables import BagSettings, BagTables
from dlrm_pl.data.formats.torchrec.mapped_file import Array
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.watched import FileState, Watch, WatchedFile

RowNumbers = slice | npt.NDArray[np.int64]

_TOGETHER = 8192
_LABELS_TOGETHER = 1 << 20


class MappedRows(Protocol):
    """Arrays of consecutive rows."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def dense(self) -> Array:
        """Record values of the dense columns, ``[n, N]``."""

    @property
    def labels(self) -> Array:
        """The labels, int32 ``[n, 1]``."""

    @property
    def ids(self) -> tuple[Array, ...]:
        """Ids of each table, ``[n, width]``."""

    @property
    def watched(self) -> Sequence[WatchedFile]:
        """Open files, which must not change."""

    def will_need(self, first: int, last: int) -> None:
        """Let the kernel read rows into memory in the background."""


@dataclass(frozen=True)
class OpenRows:
    """Mapped arrays.

    Attributes:
        days: arrays of each day, or of a whole file.
        ends: for each of ``days``, the number of rows up to its end.
        lookup: for each table, int32 ``[rows, ids of a bag - 1]``; None if bags are not drawn.
        watch: checks that the files do not change.
    """

    days: tuple[MappedRows, ...]
    ends: npt.NDArray[np.int64]
    lookup: tuple[Array | None, ...]
    watch: Watch


@dataclass(frozen=True, kw_only=True)
class ArrayRows(ABC):
    """A range of rows; each process maps the files itself.

    Attributes:
        path: path of the rows, for messages.
        states: state of each file when the dataset was opened.
        columns: columns of the records.
        table_sizes: number of rows of each table.
        takes_remainder: whether ids are taken modulo the number of rows of their table, as TorchRec does with single
            ids.
        bags: settings and folder of the lookup tables that bags are drawn from; None if bags are not drawn.
        start: first row.
        stop: row after the last one.
    """

    path: Path
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

    def part(self, start: int, stop: int) -> Self:
        """Return the rows from ``start`` up to, but not including, ``stop``."""
        return replace(self, start=self.start + start, stop=self.start + stop)

    @abstractmethod
    def mapped(self) -> tuple[MappedRows, ...]:
        """Map the files.

        Raises:
            DataFormatError: a file was changed since the dataset was opened.
        """

    @abstractmethod
    def records(self, selection: RowNumbers) -> Records:
        """Return checked rows as records, int32 ``[B, record_ints]``.

        Args:
            selection: a slice with step 1, or row numbers; both count from ``start``.

        Raises:
            DataFormatError: a label is not 0 or 1, a dense value is not allowed, or an id is negative or outside its
                table; the message names the file, the row and the value.
        """

    @property
    def opened(self) -> OpenRows:
        """This process's maps of the files.

        Raises:
            DataFormatError: a file was changed since the dataset was opened.
        """
        kept: tuple[int, OpenRows] | None = self.__dict__.get("_opened")
        if kept is None or kept[0] != os.getpid():
            days = self.mapped()
            watched = [file for day in days for file in day.watched]
            lookup: tuple[Array | None, ...] = (None,) * len(self.table_sizes)
            if self.bags is not None:
                tables = BagTables.open(self.bags[1], self.bags[0])
                lookup = tuple(tables.arrays)
                watched += [mapped.file for mapped in tables.mapped if mapped is not None]
            ends = np.cumsum([day.rows for day in days], dtype=np.int64)
            kept = os.getpid(), OpenRows(days, ends, lookup, Watch(watched))
            object.__setattr__(self, "_opened", kept)
        kept[1].watch.glance()
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the maps, since pickling them would copy the files."""
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def numbers(self, selection: RowNumbers) -> npt.NDArray[np.int64]:
        """Return the indices of the selected rows in the files."""
        if isinstance(selection, slice):
            first, last, step = selection.indices(len(self))
            return np.arange(self.start + first, self.start + max(first, last), step)
        return np.asarray(selection, np.int64) + self.start

    def bag(self, ids: Array, table: int, drawn: Array | None) -> Array:
        """Return the bags of ids: each id, followed by the row of the lookup table that it selects.

        Raises:
            DataFormatError: an id in the lookup table is outside its embedding table.
        """
        if drawn is None:
            return ids
        behind = drawn[ids[:, 0]]
        if wrong := first_place((behind < 0) | (behind >= self.table_sizes[table])):
            assert self.bags is not None
            raise DataFormatError(
                f"{self.bags[1]}: lookup table {table} contains id {behind[wrong]}, but its embedding table has only "
                f"{self.table_sizes[table]:,} rows. Delete the folder to draw the tables again."
            )
        return np.concatenate([ids, behind], axis=1)

    def single_label(self, start: int, stop: int) -> int | None:
        """Return the label that all rows of a range have; None if there are both labels, or no rows."""
        label = None
        for day, first, last in self._ranges(start + self.start, stop + self.start):
            for block in range(first, last, _LABELS_TOGETHER):
                labels = day.labels[block : min(block + _LABELS_TOGETHER, last)]
                low, high = int(labels.min()), int(labels.max())
                if low != high or label not in (None, low):
                    return None
                label = low
        return label

    def count_positives(self) -> int:
        """Return the number of rows with the label 1."""
        return sum(
            int(np.count_nonzero(day.labels[first:last])) for day, first, last in self._ranges(self.start, self.stop)
        )

    def will_need(self, start: int, stop: int) -> None:
        """Let the kernel read rows into memory in the background."""
        for day, first, last in self._ranges(start + self.start, stop + self.start):
            day.will_need(first, last)

    def _ranges(self, start: int, stop: int) -> list[tuple[MappedRows, int, int]]:
        """Return the days that contain rows of the range, each with its first such row and the one after the last."""
        opened, found = self.opened, []
        for day, end in zip(opened.days, opened.ends.tolist(), strict=True):
            first, last = (min(max(row - (end - day.rows), 0), day.rows) for row in (start, stop))
            if first < last:
                found.append((day, first, last))
        return found

    def checksum(self, start: int, stop: int, stated: str | None = None) -> str:
        """Return a checksum of rows: that of a file with their records. Empty for more than 1 GiB of them.

        Args:
            start: first row.
            stop: row after the last one.
            stated: not used: these files state no checksum of such rows.
        """
        if (stop - start) * self.columns.record_bytes > MOST_BYTES:
            return ""
        checksum = BlockChecksum(block_bytes(self.columns))
        for first in range(start, stop, _TOGETHER):
            records = self.records(slice(first, min(first + _TOGETHER, stop)))
            checksum.update(records.reshape(-1).view(np.uint8).data)
        return checksum.text()

    def identity(self, start: int, stop: int, stated: str | None = None) -> str:
        """Return a checksum of rows; above 1 GiB, of a sample of them and of other properties of the files."""
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


def first_place(wrong: npt.NDArray[np.bool_]) -> tuple[int, ...] | None:
    """Return the position of the first wrong value; None if there is none."""
    if not wrong.any():
        return None
    return tuple(int(place) for place in np.unravel_index(int(wrong.argmax()), wrong.shape))
