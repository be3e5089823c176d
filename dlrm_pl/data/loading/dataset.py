"""Memory-mapped reader: rows of a binary file -> ClickBatch."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from dlrm_pl.batch import ClickBatch, pinned, to_batch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.capping import capped_records, capped_sizes
from dlrm_pl.data.decoding.decoder import Decoder, RowNumbers, read_in_advance
from dlrm_pl.data.formats.binary_format import Records, Split, columns_or_criteo, count_records, open_records
from dlrm_pl.data.formats.block_digests import BlockDigests
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.read_ahead import BatchSource, Waiting, read_ahead
from dlrm_pl.data.loading.record_checks import RecordChecks
from dlrm_pl.data.loading.sampling import Selection
from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.files.watched import FileState, WatchedFile

_MOST_ROWS = 8192
_MOST_BYTES = 4 << 20


class ClickDataset(Dataset[ClickBatch]):
    """Rows of a binary file, read as batches: ``dataset[0:32]`` or ``dataset[array_of_rows]``.

    Each process maps the file for itself, so a dataset may be pickled, sent to workers, and forked.

    Args:
        path: binary file.
        table_sizes: number of rows of each table; a larger index is an error.
        columns: columns of the records; None: Criteo's.
        max_ind_range: indices of hex columns with a vocabulary are taken modulo this number if it is positive.
        start: first row.
        stop: row after the last; None for the end of the file.
        digests: digests of the file's blocks, by which each block is checked when it is first read; None for no check.

    Raises:
        DataFormatError: the file is missing, empty, or not a whole number of records.
        ConfigurationError: the file does not have these rows, the number of tables is wrong, or the numbers of a
            transform are not known.

    Example:
        >>> import tempfile
        >>> from dlrm_pl import ClickDataset, DatasetFolder, synthesize
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = synthesize(f"{folder}/clicks", rows=1000, max_table_size=100)
        ...     rows = ClickDataset.of_split(DatasetFolder.open(f"{folder}/clicks"), "test")
        ...     rows[:32].dense.shape, len(rows), len(rows.batches(32))
        (torch.Size([32, 13]), 125, 4)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        table_sizes: Sequence[int],
        *,
        columns: Columns | None = None,
        max_ind_range: int = -1,
        start: int = 0,
        stop: int | None = None,
        digests: BlockDigests | None = None,
    ) -> None:
        path = Path(path).expanduser()
        columns = columns_or_criteo(columns)
        columns.require_computed()
        if len(table_sizes) != columns.num_sparse:
            raise ConfigurationError(
                f"table_sizes has {len(table_sizes)} sizes, but a record has {columns.num_sparse} tables."
            )
        records = count_records(path, columns)
        start, stop = operator.index(start), records if stop is None else operator.index(stop)
        if not 0 <= start <= stop <= records:
            raise ConfigurationError(f"{path}: rows {start} to {stop} were requested, but the file has {records}.")
        self.path = path
        self._columns = columns
        self._checks = RecordChecks(path, columns, table_sizes)
        self._decoder = Decoder(columns, table_sizes, max_ind_range)
        self._max_ind_range = max_ind_range
        self._start = start
        self._stop = stop
        self._digests = digests
        self._state = FileState.of(path)
        self._map: tuple[int, WatchedFile, Records] | None = None

    @classmethod
    def of_split(
        cls,
        folder: DatasetFolder,
        split: Split,
        *,
        max_ind_range: int = -1,
        start: int = 0,
        stop: int | None = None,
        checked: bool = False,
    ) -> ClickDataset:
        """Return the rows of a split, or some of them.

        Args:
            folder: dataset folder.
            split: ``train``, ``val`` or ``test``.
            max_ind_range: indices of hex columns with a vocabulary are taken modulo this number, and their tables
                capped at it, if it is positive.
            start: first row.
            stop: row after the last; None for all.
            checked: check each block of rows when it is first read, if the folder has their digests.
        """
        sizes = capped_sizes(folder.table_sizes, max_ind_range, folder.columns)
        digests = folder.digests(split) if checked else None
        return cls(
            folder.split_path(split),
            sizes,
            columns=folder.columns,
            max_ind_range=max_ind_range,
            start=start,
            stop=stop,
            digests=digests,
        )

    def __repr__(self) -> str:
        """The file and the rows, on one line."""
        return f"ClickDataset({str(self.path)!r}, start={self._start}, stop={self._stop})"

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._stop - self._start

    def __getitem__(self, selection: Selection) -> ClickBatch:
        """Read the rows of a slice, or of an array of row numbers, as a batch.

        Raises:
            DataFormatError: a label, a dense value or an index is not one that preprocessing writes, see
                ``RecordChecks``; names file, record, column or table, and value. Or the file was changed after it was
                written or opened.
        """
        return self.read([selection])[0]

    def read(self, selections: Sequence[Selection], *, pin_memory: bool = False) -> list[ClickBatch]:
        """Read several batches in one native call, which leaves Python free for other threads meanwhile.

        The batches share their memory: one that is kept keeps that of the others too.

        Args:
            selections: rows of each batch, as in ``dataset[selection]``.
            pin_memory: whether the batches lie in memory that is pinned for copies to a CUDA device.

        Raises:
            DataFormatError: as ``dataset[selection]`` raises it.
        """
        return self._read_sorted([self._sorted(selection) for selection in selections], pin_memory)

    def _read_sorted(
        self, selections: Sequence[Selection], pin_memory: bool, buffers: Buffers | None = None
    ) -> list[ClickBatch]:
        records = self._records()[self._start : self._stop]
        for selection in selections:
            self._check_blocks(selection)
        # NumPy reads batches without native code, and the one with a wrong value, to name it.
        usual = _upto_unusual(selections, len(records))
        batches = self._decoder.decode(records, usual, pin_memory=pin_memory, buffers=buffers)
        for selection in selections[len(batches) :]:
            batch = self._read_by_numpy(records, selection)
            batches.append(pinned(batch) if pin_memory else batch)
        return batches

    def stream(
        self, selections: Iterable[Selection], *, pin_memory: bool = False, waiting: Waiting | None = None
    ) -> Iterator[ClickBatch]:
        """Yield a batch for each selection; a thread reads and checks the next ones meanwhile.

        Args:
            selections: rows of each batch, as in ``dataset[selection]``.
            pin_memory: whether the batches lie in memory that is pinned for copies to a CUDA device.
            waiting: adds up the time that was spent waiting for batches.

        Raises:
            DataFormatError: as ``dataset[selection]`` raises it, after the batches before it.
        """
        read = partial(self._read_sorted, pin_memory=pin_memory, buffers=Buffers())
        source = BatchSource(read, self._read_in_advance, self._most_rows)
        return read_ahead(source, map(self._sorted, selections), Waiting() if waiting is None else waiting)

    def _read_in_advance(self, selections: Sequence[Selection]) -> None:
        """Let the kernel read rows that will be needed soon from the disk."""
        records = self._records()[self._start : self._stop]
        read_in_advance(records, _upto_unusual(selections, len(records)))

    @property
    def _most_rows(self) -> int:
        """Rows that are read at once, unless a batch has more: few enough for a processor's cache."""
        return max(1, min(_MOST_ROWS, _MOST_BYTES // self._columns.record_bytes))

    def _sorted(self, selection: Selection) -> Selection:
        """Return a slice with its ends, and row numbers in their order."""
        if isinstance(selection, slice):
            start, stop, step = selection.indices(len(self))
            return slice(start, max(start, stop)) if step == 1 else np.sort(np.arange(start, stop, step))
        # Sorted reads walk the file forwards; the order inside a batch means nothing.
        return np.sort(selection)

    def _read_by_numpy(self, records: Records, selection: Selection) -> ClickBatch:
        records = records[selection]
        if self._max_ind_range > 0:
            records = capped_records(records, self._columns, self._max_ind_range)
        self._checks.check(records, self._numbers(selection))
        return to_batch(records, self._columns)

    def batches(self, batch_size: int) -> Batches:
        """Return all rows in order as batches that can be iterated over again and again, without workers."""
        return Batches(self, batch_size)

    def _records(self) -> Records:
        """Return this process's map of the file, which must not have changed since the dataset was made."""
        if self._map is None or self._map[0] != os.getpid():
            file = WatchedFile(self.path, DataFormatError)
            if file.state != self._state:
                raise DataFormatError(
                    f"{self.path}: was replaced or changed since the dataset was opened: it had {self._state}, and now "
                    f"has {file.state}. Run the command again."
                )
            # A plain array over the map: NumPy takes 3 us more for each slice of a memmap.
            records = open_records(self.path, self._columns, file.descriptor).view(np.ndarray)
            self._map = (os.getpid(), file, records)
        self._map[1].check_unchanged()
        return self._map[2]

    def _check_blocks(self, selection: Selection) -> None:
        """Check the blocks of the selected rows, if their digests are known."""
        if self._digests is None:
            return
        data = self._records().reshape(-1).view(np.uint8).data
        if isinstance(selection, slice):
            first, last, _ = selection.indices(len(self))
            runs = [(first, last)]
        else:
            runs = [(row, row + 1) for row in selection.tolist()]
        size = self._columns.record_bytes
        for first, last in runs:
            self._digests.check(data, (self._start + first) * size, (self._start + last) * size)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the map, since pickling it would copy the file."""
        return self.__dict__ | {"_map": None}

    def _numbers(self, selection: Selection) -> Iterable[int]:
        """Return the numbers of the selected rows in the file."""
        if isinstance(selection, slice):
            return range(self._start, self._stop)[selection]
        return map(int, selection + self._start)


class Batches:
    """The rows of a dataset in order, as batches; each iteration starts from the first.

    Args:
        dataset: rows to read.
        batch_size: rows of each batch; the last may have fewer.

    Raises:
        ConfigurationError: the batch size is below 1.

    Example:
        >>> import tempfile
        >>> import dlrm_pl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = dlrm_pl.synthesize(f"{folder}/clicks", rows=3000, days=3, max_table_size=50)
        ...     batches = dlrm_pl.DLRMDataModule(f"{folder}/clicks", eval_batch_size=128).tuning_dataloader()
        ...     sizes = [batch.num_samples for batch in batches]
        >>> len(batches), sizes
        (4, [128, 128, 128, 66])
    """

    def __init__(self, dataset: ClickDataset, batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size} must be at least 1.")
        self._dataset = dataset
        self._batch_size = operator.index(batch_size)

    def __repr__(self) -> str:
        """The dataset and the batch size, on one line."""
        return f"Batches({self._dataset!r}, batch_size={self._batch_size})"

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self._dataset) // self._batch_size)

    def __iter__(self) -> Iterator[ClickBatch]:
        """Yield batch after batch."""
        size = self._batch_size
        return self._dataset.stream(slice(start, start + size) for start in range(0, len(self._dataset), size))


def _upto_unusual(selections: Sequence[Selection], rows: int) -> list[RowNumbers]:
    """Return the selections in front of the first one that only NumPy understands: of negative or missing rows."""
    return list(
        takewhile(
            lambda one: isinstance(one, slice) or not len(one) or (one[0] >= 0 and one[-1] < rows),
            selections,
        )
    )
