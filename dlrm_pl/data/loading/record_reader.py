"""Batches from a memory-mapped file of records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.batch import ClickBatch, pinned, to_batch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.capping import capped_records
from dlrm_pl.data.decoding.decoder import Decoder, read_in_advance
from dlrm_pl.data.formats.binary_format import Records, count_records, open_records
from dlrm_pl.data.formats.block_digests import BlockDigests
from dlrm_pl.data.formats.record_checks import RecordChecks
from dlrm_pl.data.loading.row_reader import MOST_BYTES, MOST_ROWS, upto_unusual
from dlrm_pl.data.loading.sampling import Selection
from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.files.watched import FileState, WatchedFile


class RecordReader:
    """Reads rows of a file of records, which each process maps itself.

    Args:
        path: binary file.
        table_sizes: number of rows of each table; a larger index is an error.
        columns: columns of the records.
        max_ind_range: if positive, indices of hex columns with a vocabulary are taken modulo this number.
        start: first row.
        stop: row after the last one; None for the end of the file.
        digests: digests of the file's blocks, against which each block is checked when it is first read; None for no
            check.

    Raises:
        DataFormatError: the file is missing, empty, or does not hold a whole number of records.
        ConfigurationError: the file does not have these rows.
    """

    def __init__(
        self,
        path: Path,
        table_sizes: Sequence[int],
        *,
        columns: Columns,
        max_ind_range: int,
        start: int,
        stop: int | None,
        digests: BlockDigests | None,
    ) -> None:
        records = count_records(path, columns)
        stop = records if stop is None else stop
        if not 0 <= start <= stop <= records:
            raise ConfigurationError(f"{path}: rows {start} to {stop} were requested, but the file has {records}.")
        self._path = path
        self._columns = columns
        self._checks = RecordChecks(path, columns, table_sizes)
        self._decoder = Decoder(columns, table_sizes, max_ind_range)
        self._max_ind_range = max_ind_range
        self._start = start
        self._stop = stop
        self._digests = digests
        self._state = FileState.of(path)
        self._map: tuple[int, WatchedFile, Records] | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._stop - self._start

    @property
    def most_rows(self) -> int:
        """Number of rows that are read at once, unless a batch has more: few enough for a processor's cache."""
        return max(1, min(MOST_ROWS, MOST_BYTES // self._columns.record_bytes))

    def read(
        self, selections: Sequence[Selection], *, pin_memory: bool = False, buffers: Buffers | None = None
    ) -> Sequence[ClickBatch]:
        """Read a batch for each selection: a slice of step 1 with explicit ends, or row numbers in their order.

        Raises:
            DataFormatError: a label, a dense value or an index is not one that preprocessing writes, see
                ``RecordChecks``; or the file was changed after it was written or opened.
        """
        records = self._records()[self._start : self._stop]
        if self._digests is not None:
            for selection in selections:
                self._check_blocks(self._digests, selection)
        # NumPy reads what is left: everything if there is no native code, and the batch with a wrong value, to name it.
        usual = upto_unusual(selections, len(records))
        batches = self._decoder.decode(records, usual, pin_memory=pin_memory, buffers=buffers)
        if len(batches) == len(selections):
            return batches
        others = (self._read_by_numpy(records, selection) for selection in selections[len(batches) :])
        return [*batches, *(pinned(batch) if pin_memory else batch for batch in others)]

    def read_in_advance(self, selections: Sequence[Selection]) -> None:
        """Ask the kernel to read rows from the disk that will be needed soon."""
        records = self._records()[self._start : self._stop]
        read_in_advance(records, upto_unusual(selections, len(records)))

    def _read_by_numpy(self, records: Records, selection: Selection) -> ClickBatch:
        records = records[selection]
        if self._max_ind_range > 0:
            records = capped_records(records, self._columns, self._max_ind_range)
        self._checks.check(records, self._numbers(selection))
        return to_batch(records, self._columns)

    def _records(self) -> Records:
        """Return this process's map of the file, which must not have changed since the dataset was made."""
        if self._map is None or self._map[0] != os.getpid():
            file = WatchedFile(self._path, DataFormatError)
            if file.state != self._state:
                raise DataFormatError(
                    f"{self._path}: was replaced or changed since the dataset was opened: it had {self._state}, and "
                    f"now has {file.state}. Run the command again."
                )
            # A plain array over the map: NumPy takes 3 us more for each slice of a memmap.
            records = open_records(self._path, self._columns, file.descriptor).view(np.ndarray)
            self._map = (os.getpid(), file, records)
        self._map[1].check_unchanged()
        return self._map[2]

    def _check_blocks(self, digests: BlockDigests, selection: Selection) -> None:
        """Check the blocks of the selected rows."""
        data = self._records().reshape(-1).view(np.uint8).data
        if isinstance(selection, slice):
            first, last, _ = selection.indices(self.num_rows)
            runs = [(first, last)]
        else:
            runs = [(row, row + 1) for row in selection.tolist()]
        size = self._columns.record_bytes
        for first, last in runs:
            digests.check(data, (self._start + first) * size, (self._start + last) * size)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the map, since pickling it would copy the file."""
        return self.__dict__ | {"_map": None}

    def _numbers(self, selection: Selection) -> Iterable[int]:
        """Return the numbers of the selected rows in the file."""
        if isinstance(selection, slice):
            return range(self._start, self._stop)[selection]
        return map(int, selection + self._start)
