"""Files that rows are scattered into: buckets, rows in order, and the last day."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_description import REJECTED
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.native import Matrix
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.files.complete_io import sync_handle, write_all, write_at

LAST_DAY = "last_day"
IN_ORDER = "in_order"


def bucket_name(bucket: int) -> str:
    """Return the file name of a bucket."""
    return f"bucket_{bucket}"


class RowFiles:
    """Growing files of an unfinished run. Several threads may write rows at once.

    Args:
        columns: columns of the log.
        num_days: number of days.
        options: options of the run.
        state: state of the run; the file sizes in it are updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        kept_before: number of kept rows before the first row of these files.
    """

    def __init__(
        self,
        columns: Columns,
        num_days: int,
        options: PreprocessOptions,
        state: State,
        engine: Engine,
        folder: Path,
        kept_before: int = 0,
    ) -> None:
        self._record_ints = columns.record_ints
        self._record_bytes = columns.record_bytes
        self._last_day = num_days - 1
        self._options = options
        self._state = state
        self._engine = engine
        self._folder = folder
        self._kept_before = kept_before
        self._files: dict[str, IO[bytes]] = {}
        self._descriptors = np.empty(sum(state.buckets), np.int32)  # Of the buckets' files.
        self._first_bucket = np.concatenate([[0], np.cumsum(state.buckets)]).tolist()  # First bucket of each day.
        if options.randomize == "total":
            self._first_bucket = [0] * (num_days + 1)

    def open(self, stack: ExitStack) -> None:
        """Open all files, unbuffered, so that all bytes are in them when a write returns; the stack closes them."""
        for name in self._names():
            path = self._folder / name
            if name in (IN_ORDER, LAST_DAY):  # Written at offsets, which a file opened for appending would ignore.
                path.touch()
            mode = "r+b" if name in (IN_ORDER, LAST_DAY) else "ab"
            self._files[name] = stack.enter_context(path.open(mode, buffering=0))
        if self._options.randomize != "none":
            names = map(bucket_name, range(len(self._descriptors)))
            self._descriptors[:] = [self._files[name].fileno() for name in names]

    def write(
        self, day: int, matrix: Matrix, rows: int, first_of_day: int, first_kept: int, keyed: npt.NDArray[np.void]
    ) -> None:
        """Write rows of one day.

        Args:
            day: number of the day.
            matrix: ``[record_ints, capacity]``; each record is a column.
            rows: number of records.
            first_of_day: number of records of the day before these.
            first_kept: number of records of all days before these.
            keyed: memory for this many keyed records.
        """
        if day == self._last_day:
            self._write_in_order(LAST_DAY, matrix, rows, first_of_day, keyed)
        elif self._options.randomize == "none":
            self._write_in_order(IN_ORDER, matrix, rows, first_kept - self._kept_before, keyed)
        else:
            self._append_to_buckets(day, matrix, rows, first_kept, keyed)

    def reject(self, row: bytes) -> None:
        """Append an unusable row to the file of rejected rows."""
        write_all(self._files[REJECTED].fileno(), row)

    def rejected(self) -> Path:
        """Return the file of rejected rows."""
        return self._folder / REJECTED

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        for file in self._files.values():
            sync_handle(file)

    def note_sizes(self) -> None:
        """Record the sizes of the files in the state."""
        self._state.file_bytes = {name: os.fstat(file.fileno()).st_size for name, file in self._files.items()}

    def _names(self) -> list[str]:
        if self._options.randomize == "none":
            return [IN_ORDER, LAST_DAY, REJECTED]
        return [*map(bucket_name, range(len(self._descriptors))), LAST_DAY, REJECTED]

    def _write_in_order(self, name: str, matrix: Matrix, rows: int, first: int, keyed: npt.NDArray[np.void]) -> None:
        """Write records to their place in a file, which is given by the number of records before them."""
        records = keyed.view(np.int32)[: rows * self._record_ints].reshape(rows, self._record_ints)
        self._engine.records(matrix, rows, records)
        data = records.reshape(-1).view(np.uint8).data
        write_at(self._files[name].fileno(), data, first * self._record_bytes)

    def _append_to_buckets(
        self, day: int, matrix: Matrix, rows: int, first_kept: int, keyed: npt.NDArray[np.void]
    ) -> None:
        """Append the records to their buckets, in any order, since each bucket is sorted later."""
        total = self._options.randomize == "total"
        buckets = self._state.buckets[0 if total else day]
        sizes = self._engine.scatter(matrix, rows, self._options.seed, first_kept, buckets, keyed)
        first = self._first_bucket[day]
        self._engine.append(self._descriptors[first : first + buckets], keyed, sizes)
