"""Memory-mapped reader: rows of a binary file -> ClickBatch."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.binary_format import (
    DENSE,
    LABEL,
    RECORD_BYTES,
    SPARSE,
    Records,
    Split,
    count_records,
    open_records,
)
from dlrm_pl.data.formats.block_digests import BlockDigests
from dlrm_pl.data.formats.criteo_counts import NUM_SPARSE
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.sampling import Selection
from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.files.watched import FileState, WatchedFile


class ClickDataset(Dataset[ClickBatch]):
    """Rows of a binary file, read as batches: ``dataset[0:32]`` or ``dataset[array_of_rows]``.

    Each process maps the file for itself, so a dataset may be pickled, sent to workers, and forked.

    Args:
        path: binary file.
        table_sizes: number of rows of each table; a larger index is an error.
        max_ind_range: indices are taken modulo this number if it is positive.
        start: first row.
        stop: row after the last; None for the end of the file.
        digests: digests of the file's blocks, by which each block is checked when it is first read; None for no check.

    Raises:
        DataFormatError: the file is missing, empty, or not a whole number of records.
        ConfigurationError: the file does not have these rows, or the number of tables is wrong.

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
        max_ind_range: int = -1,
        start: int = 0,
        stop: int | None = None,
        digests: BlockDigests | None = None,
    ) -> None:
        path = Path(path).expanduser()
        if len(table_sizes) != NUM_SPARSE:
            raise ConfigurationError(f"table_sizes has {len(table_sizes)} sizes, but a record has {NUM_SPARSE} tables.")
        records = count_records(path)
        start, stop = operator.index(start), records if stop is None else operator.index(stop)
        if not 0 <= start <= stop <= records:
            raise ConfigurationError(f"{path}: rows {start} to {stop} were requested, but the file has {records}.")
        self.path = path
        self._table_sizes = np.asarray(table_sizes, dtype=np.int64)
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
            max_ind_range: indices are taken modulo this number, and the tables capped at it, if it is positive.
            start: first row.
            stop: row after the last; None for all.
            checked: check each block of rows when it is first read, if the folder has their digests.
        """
        sizes = capped_sizes(folder.table_sizes, max_ind_range)
        digests = folder.digests(split) if checked else None
        return cls(
            folder.split_path(split),
            sizes,
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
            DataFormatError: a label is not 0 or 1, a dense value is negative, or an index is beyond its table; names
                file, record, field or table, and value. Or the file was changed after it was written or opened.
        """
        if not isinstance(selection, slice):
            # Sorted reads walk the file forwards; the order inside a batch means nothing.
            selection = np.sort(selection)
        self._check_blocks(selection)
        records = self._records()[self._start : self._stop][selection]
        labels, dense, indices = records[:, LABEL], records[:, DENSE], records[:, SPARSE]
        if self._max_ind_range > 0:
            indices = indices % self._max_ind_range
        self._check(selection, labels, dense, indices)
        return to_batch(labels, dense, indices)

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
            self._map = (os.getpid(), file, open_records(self.path, file.descriptor))
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
        for first, last in runs:
            self._digests.check(data, (self._start + first) * RECORD_BYTES, (self._start + last) * RECORD_BYTES)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the map, since pickling it would copy the file."""
        return self.__dict__ | {"_map": None}

    def _check(self, selection: Selection, labels: Records, dense: Records, indices: Records) -> None:
        """Check a batch in a few passes, and look for the place of a fault only if there is one."""
        if not len(labels):
            return
        highest = indices.max(axis=0)
        signs_fit = labels.min() >= 0 and labels.max() <= 1 and dense.min() >= 0 and indices.min() >= 0
        if signs_fit and (highest < self._table_sizes).all():
            return
        numbers = np.arange(len(self))[selection] if isinstance(selection, slice) else selection
        for row, number in enumerate(numbers + self._start):
            where = f"{self.path}: record {number}"
            if labels[row] not in (0, 1):
                raise DataFormatError(f"{where}: the label is {labels[row]}, but must be 0 or 1. Preprocess again.")
            for field in np.flatnonzero(dense[row] < 0):
                raise DataFormatError(
                    f"{where}: dense field I{field + 1} is {dense[row, field]}, but must not be negative; "
                    "preprocessing stores 0 instead. Preprocess the raw log again."
                )
            for table in np.flatnonzero((indices[row] < 0) | (indices[row] >= self._table_sizes)):
                raise DataFormatError(
                    f"{where}: table {table} has {self._table_sizes[table]} rows, the index is {indices[row, table]}. "
                    "The file and day_fea_count.npz come from different runs; preprocess the raw log again."
                )


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
        for start in range(0, len(self._dataset), self._batch_size):
            yield self._dataset[start : min(start + self._batch_size, len(self._dataset))]


def to_batch(labels: np.ndarray[Any, Any], dense: np.ndarray[Any, Any], indices: np.ndarray[Any, Any]) -> ClickBatch:
    """Return integer columns as a batch; the logarithm of the dense features is taken here, as upstream does."""
    return ClickBatch(
        dense=torch.from_numpy(np.log(dense.astype(np.float32) + np.float32(1))),
        indices=torch.from_numpy(np.ascontiguousarray(indices.T, dtype=np.int64)),
        offsets=None,
        labels=torch.from_numpy(labels.astype(np.float32)),
    )


def capped_sizes(table_sizes: Sequence[int], max_ind_range: int) -> tuple[int, ...]:
    """Return the table sizes when indices are taken modulo ``max_ind_range``."""
    return tuple(min(size, max_ind_range) if max_ind_range > 0 else size for size in table_sizes)
