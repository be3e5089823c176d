"""Rows of a dataset as ClickBatch objects, from memory-mapped files."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.buffers import Buffers
from dlrm_pl.data.decoding.capping import capped_sizes
from dlrm_pl.data.decoding.row_ranges import RowRanges
from dlrm_pl.data.formats.binary_format import Split, columns_or_criteo
from dlrm_pl.data.formats.block_digests import BlockDigests
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.array_rows import ArrayRows
from dlrm_pl.data.loading.array_reader import ArrayReader
from dlrm_pl.data.loading.read_ahead import BatchSource, ReadBatches, Waiting, read_ahead
from dlrm_pl.data.loading.record_reader import RecordReader
from dlrm_pl.data.loading.row_reader import RowReader
from dlrm_pl.data.loading.sampling import Selection, Selections, take
from dlrm_pl.errors import ConfigurationError


class ClickDataset(Dataset[ClickBatch]):
    """Rows of a binary file, read as batches: ``dataset[0:32]`` or ``dataset[array_of_rows]``.

    Each process maps the file itself, so a dataset may be pickled, sent to workers, and forked.

    Args:
        path: binary file; or rows in mapped arrays, which need no other arguments than ``table_sizes``, ``start`` and
            ``stop``.
        table_sizes: number of rows of each table; a larger index is an error.
        columns: columns of the records; None: Criteo's.
        max_ind_range: if positive, indices of hex columns with a vocabulary are taken modulo this number.
        start: first row.
        stop: row after the last one; None for the end of the file.
        digests: digests of the file's blocks, against which each block is checked when it is first read; None for no
            check.

    Raises:
        DataFormatError: the file is missing, empty, or does not hold a whole number of records.
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
        path: str | os.PathLike[str] | ArrayRows,
        table_sizes: Sequence[int],
        *,
        columns: Columns | None = None,
        max_ind_range: int = -1,
        start: int = 0,
        stop: int | None = None,
        digests: BlockDigests | None = None,
    ) -> None:
        columns = path.columns if isinstance(path, ArrayRows) else columns_or_criteo(columns)
        columns.require_computed()
        if len(table_sizes) != columns.num_sparse:
            raise ConfigurationError(
                f"table_sizes has {len(table_sizes)} sizes, but a record has {columns.num_sparse} tables."
            )
        start, stop = operator.index(start), None if stop is None else operator.index(stop)
        self._reader: RowReader
        if isinstance(path, ArrayRows):
            self.path = path.path
            if tuple(table_sizes) != path.table_sizes:
                raise ConfigurationError(
                    f"{path.path}: max_ind_range={max_ind_range} would give ids other than those that the bags were "
                    "drawn from. Preprocess with --max_ind_range instead."
                )
            end = len(path) if stop is None else stop
            if not 0 <= start <= end <= len(path):
                raise ConfigurationError(
                    f"{path.path}: rows {start} to {end} were requested, but the split has {len(path)}."
                )
            self._reader = ArrayReader(path.part(start, end))
        else:
            self.path = Path(path).expanduser()
            self._reader = RecordReader(
                self.path,
                table_sizes,
                columns=columns,
                max_ind_range=max_ind_range,
                start=start,
                stop=stop,
                digests=digests,
            )
        self._start = start

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
            max_ind_range: if positive, indices of hex columns with a vocabulary are taken modulo this number, and their
                tables are capped at it.
            start: first row.
            stop: row after the last one; None for all rows.
            checked: whether to check each block of rows when it is first read, if the folder has the digests.
        """
        sizes = capped_sizes(folder.table_sizes, max_ind_range, folder.columns)
        digests = folder.digests(split) if checked else None
        rows = folder.rows(split)
        return cls(
            rows if isinstance(rows, ArrayRows) else rows.path,
            sizes,
            columns=folder.columns,
            max_ind_range=max_ind_range,
            start=start,
            stop=stop,
            digests=digests,
        )

    def __repr__(self) -> str:
        """The file and the rows, on one line."""
        return f"ClickDataset({str(self.path)!r}, start={self._start}, stop={self._start + len(self)})"

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._reader.num_rows

    def __getitem__(self, selection: Selection) -> ClickBatch:
        """Read the rows of a slice, or of an array of row numbers, as a batch.

        Raises:
            DataFormatError: a label, a dense value or an index is not one that preprocessing writes, see
                ``RecordChecks``; the message names the file, record, column or table, and value. Or the file was
                changed after it was written or opened.
        """
        return self.read([selection])[0]

    def read(self, selections: Sequence[Selection], *, pin_memory: bool = False) -> list[ClickBatch]:
        """Read several batches in one native call, during which other threads can run Python.

        The batches share memory: keeping one batch keeps the memory of all of them.

        Args:
            selections: rows of each batch, as in ``dataset[selection]``.
            pin_memory: whether to put the batches in memory that is pinned for copies to a CUDA device.

        Raises:
            DataFormatError: as for ``dataset[selection]``.
        """
        return list(self._reader.read([self._sorted(selection) for selection in selections], pin_memory=pin_memory))

    def stream(
        self, selections: Iterable[Selection], *, pin_memory: bool = False, waiting: Waiting | None = None
    ) -> ReadBatches:
        """Yield a batch for each selection, while a thread reads and checks the next ones.

        Args:
            selections: rows of each batch, as in ``dataset[selection]``.
            pin_memory: whether to put the batches in memory that is pinned for copies to a CUDA device.
            waiting: adds up the time spent waiting for batches.

        Raises:
            DataFormatError: as for ``dataset[selection]``, after the preceding batches have been yielded.
        """
        read = partial(self._reader.read, pin_memory=pin_memory, buffers=Buffers())
        source = BatchSource(read, self._reader.read_in_advance, self._reader.most_rows)
        return read_ahead(source, _Sorted(iter(selections), self), Waiting() if waiting is None else waiting)

    def _sorted(self, selection: Selection) -> Selection:
        """Return a slice with its ends, and row numbers in their order."""
        if isinstance(selection, slice):
            start, stop, step = selection.indices(len(self))
            return slice(start, max(start, stop)) if step == 1 else np.sort(np.arange(start, stop, step))
        # Sorted row numbers make reads go forward through the file; the order within a batch has no meaning.
        return np.sort(selection)

    def batches(self, batch_size: int) -> Batches:
        """Return all rows in order as batches that can be iterated over repeatedly, without workers."""
        return Batches(self, batch_size)


class _Sorted(Selections):
    """Selections as a reader takes them.

    Args:
        selections: selections of any form.
        dataset: the dataset that the selections are for.
    """

    def __init__(self, selections: Iterator[Selection], dataset: ClickDataset) -> None:
        self._selections, self._dataset = selections, dataset

    def take(self, count: int) -> Sequence[Selection]:
        """Return the next selections: as many as asked for, or all that are left."""
        found = take(self._selections, count)
        if isinstance(found, RowRanges) and found.end <= len(self._dataset):
            return found
        return [self._dataset._sorted(selection) for selection in found]


class Batches:
    """Rows of a dataset in order, as batches; each iteration starts from the first.

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
