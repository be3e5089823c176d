"""Convert upstream's preprocessed files to a dataset folder, without going back to the raw logs.

Arrays become records in their original order; binary files are hard-linked, or copied if they cannot be linked. Then
one pass over the records checks each of them and makes the counts for the report.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import (
    LABEL,
    SPLITS,
    Records,
    Split,
    split_file_name,
)
from dlrm_pl.data.formats.block_checksum import BlockChecksum, block_bytes
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe
from dlrm_pl.data.formats.vocabulary import load_array, save_counts, save_dictionary
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, State
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS
from dlrm_pl.data.preprocessing.io.bucket_reader import read_blocks
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import require_disk
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted, LogStatistics
from dlrm_pl.data.preprocessing.statistics.report import data_report, warn_of_classes
from dlrm_pl.data.preprocessing.upstream.find import UpstreamFiles
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.complete_io import sync_handle, sync_path

log = logging.getLogger(__name__)

_COLUMNS = Columns.criteo()  # In all files that upstream's tools write.
_BLOCK_ROWS = 1 << 16
_ROW_BYTES = 1600  # Upper bound on the memory that a row takes while its arrays become records.
_IN_ORDER: tuple[Split, ...] = ("train", "test", "val")  # Order of the splits' rows in the arrays.


class UpstreamConversion:
    """One call of ``preprocess`` on upstream's files, while the caller holds the lock on the output.

    Args:
        source: files to convert.
        options: options of the run.
        key: options and inputs of the run, as JSON values.
        checkpoint: folder of the unfinished run.
        progress: called with the stage, the share of it that is done, and the number of rows since the last call.
    """

    def __init__(
        self,
        source: UpstreamFiles,
        options: PreprocessOptions,
        key: dict[str, Any],
        checkpoint: CheckpointFolder,
        progress: Callable[[str, float, int], None],
    ) -> None:
        self._source = source
        self._options = options
        self._checkpoint = checkpoint
        self._progress = progress
        self._total = sum(source.rows.values())
        state = checkpoint.load_for(key)
        self._require_disk()
        if state is None:
            checkpoint.start()
            state = State(key=key, buckets=[], file_bytes={self._name(split): 0 for split in SPLITS})
        else:
            checkpoint.resume(state)
            log.info("resuming an interrupted run at row %s", f"{self._done(state):,}")
        self._state = state

    def make(self) -> DatasetFolder:
        """Return the finished folder, still under its temporary name."""
        finished = self._checkpoint.finished
        if self._source.binaries:
            for split, path in self._source.binaries.items():
                _link(path, finished / split_file_name(split))
        else:
            self._convert()
        save_counts(finished, self._source.table_sizes)
        for table, path in enumerate(self._source.dictionaries):
            self._take_dictionary(table, path)
        if not self._source.dictionaries:
            log.warning("no *_fea_dict_*.npz next to the files: a model will not be able to score raw logs")
        statistics = LogStatistics.nothing(_COLUMNS, len(SPLITS))
        splits: dict[Split, SplitInfo] = {}
        done = 0
        for number, split in enumerate(SPLITS):
            path = self._source.binaries.get(split, finished / split_file_name(split))
            digests = digests_path(finished / split_file_name(split))
            splits[split] = self._measure(path, done, digests, statistics, number)
            done += splits[split].records
        report = data_report(statistics, [], {}, 0, names=SPLITS, missing_known=False)
        report["warnings"] += warn_of_classes(
            (split, part.records, part.positives or 0) for split, part in splits.items()
        )
        return describe(
            finished,
            max_ind_range=self._options.modulus or -1,
            created_by="preprocess",
            splits=splits,
            extra={"report": report, "preprocess": self._state.key},
        )

    def _require_disk(self) -> None:
        output = self._total * _COLUMNS.record_bytes
        needed = output + max((one.unpacked_bytes for one in self._source.arrays), default=0)
        if self._source.binaries:
            first = next(iter(self._source.binaries.values()))
            parent = self._checkpoint.path.parent
            needed = 0 if parent.stat().st_dev == first.stat().st_dev else output
        already = self._checkpoint.size_bytes() if self._checkpoint.path.exists() else 0
        require_disk(needed, output, self._checkpoint.path.parent, already)

    def _name(self, split: Split) -> str:
        return str((self._checkpoint.finished / split_file_name(split)).relative_to(self._checkpoint.path))

    def _done(self, state: State) -> int:
        return sum(state.file_bytes.values()) // _COLUMNS.record_bytes

    def _convert(self) -> None:
        """Append the rows of all arrays to the files of the splits, from the point that an earlier run reached."""
        source, state = self._source, self._state
        row, start, unsaved = self._done(state), 0, 0
        block = min(_BLOCK_ROWS, self._options.memory_bytes // _ROW_BYTES)
        files = {split: (self._checkpoint.path / self._name(split)).open("ab") for split in SPLITS}
        try:
            for arrays in source.arrays:
                if row < start + arrays.rows:
                    with arrays.unpacked(self._checkpoint.path):
                        while row < start + arrays.rows:
                            stop = min(row + block, start + arrays.rows)
                            records = arrays.records(row - start, stop - start, source.table_sizes)
                            self._append(files, row, records)
                            row, unsaved = stop, unsaved + records.nbytes
                            self._progress("reading", row / self._total, len(records))
                            if unsaved >= self._options.checkpoint_bytes:
                                self._save(files)
                                unsaved = 0
                start += arrays.rows
        finally:
            for file in files.values():
                file.close()

    def _append(self, files: Mapping[Split, IO[bytes]], row: int, records: Records) -> None:
        first = 0
        for split in _IN_ORDER:
            last = first + self._source.rows[split]
            part = records[max(first - row, 0) : max(last - row, 0)]
            if len(part):
                files[split].write(part.data)
            first = last

    def _save(self, files: Mapping[Split, IO[bytes]]) -> None:
        for split, file in files.items():
            sync_handle(file)
            self._state.file_bytes[self._name(split)] = os.fstat(file.fileno()).st_size
        self._checkpoint.commit(self._state)

    def _take_dictionary(self, table: int, path: Path) -> None:
        values, rows = load_array(path, "unique"), self._source.table_sizes[table]
        if values.shape != (rows,):
            raise DataFormatError(
                f"{path}: table {table} has {len(values)} values here and {rows} rows in the counts. Upstream writes "
                "incomplete dictionaries when it resumes a killed run; make them again."
            )
        modulus = self._options.modulus
        if modulus and values.max() >= modulus:
            raise DataFormatError(
                f"{path}: has the value {values.max()}, so max_ind_range was not {modulus:,}. Give the value that "
                "the files were made with, or --max_ind_range -1 if there was none."
            )
        save_dictionary(self._checkpoint.finished, table, values)

    def _measure(self, path: Path, done: int, digests: Path, statistics: LogStatistics, number: int) -> SplitInfo:
        """Read a split once: check every record, count, and write the digests of its blocks."""
        counted, row = Counted.nothing(statistics.columns), 0
        checksum = BlockChecksum(block_bytes(statistics.columns))
        last_ids = np.array(self._source.table_sizes) - 1
        for records in read_blocks(path, statistics.columns.record_ints):
            _check(records, last_ids, path, row)
            row += len(records)
            columns = np.ascontiguousarray(records.T)
            counted.histogram += _histogram(columns)
            np.maximum(counted.largest, columns[_COLUMNS.dense_fields].max(axis=1), out=counted.largest)
            counted.clicks += int(np.count_nonzero(columns[LABEL]))
            checksum.update(records.reshape(-1).view(np.uint8).data)
            self._progress("checking", (done + row) / self._total, len(records))
        statistics.days[number].rows = statistics.days[number].kept = row
        statistics.add(number, counted)
        digests.write_bytes(checksum.digests())
        return SplitInfo(row, counted.clicks, checksum.text())


def _check(records: Records, last_ids: np.ndarray[Any, np.dtype[np.int64]], path: Path, row: int) -> None:
    """Check that each value of the records is in its range.

    Raises:
        DataFormatError: a value is out of range; the message names the record and field.
    """
    most = np.concatenate([[1], np.full(_COLUMNS.num_dense, np.iinfo(np.int32).max), last_ids])
    wrong = (records < 0) | (records > most)
    if wrong.any():
        index, field = (int(place) for place in np.argwhere(wrong)[0])
        table = field - _COLUMNS.sparse_fields.start
        what = f"table {table}" if table >= 0 else "the label" if field == LABEL else _COLUMNS.names[field]
        raise DataFormatError(
            f"{path}: record {row + index}: {what} is {records[index, field]}, but must be 0 to {most[field]}. "
            "The file and its counts come from different runs, or it is corrupt."
        )


def _histogram(columns: Records) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the histogram of the dense values, ``[N, DENSE_BINS]``."""
    count = _COLUMNS.num_dense
    binned = np.minimum(columns[_COLUMNS.dense_fields], DENSE_BINS - 1) + (np.arange(count) * DENSE_BINS)[:, None]
    return np.bincount(binned.ravel(), minlength=count * DENSE_BINS).reshape(count, DENSE_BINS)


def _link(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy if the file system cannot link to it."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
        sync_path(target)
