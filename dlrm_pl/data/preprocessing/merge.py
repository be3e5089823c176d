"""Second stage of a run: sort each bucket in memory, append it to its split, and halve the last day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dlrm_pl.data.formats.binary_format import Split, split_file_name
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.preprocessing.bucket_merge import BucketMerge
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, State
from dlrm_pl.data.preprocessing.engine.native import Keyed, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.io.bucket_reader import map_keyed, read_blocks
from dlrm_pl.data.preprocessing.io.split_writer import SplitWriter, Written
from dlrm_pl.data.preprocessing.last_changes import LastChanges
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.row_files import IN_ORDER, LAST_DAY, bucket_name
from dlrm_pl.data.preprocessing.threads import run_threads


class Merge:
    """The second stage of a run: write the three splits.

    Args:
        options: options of the run.
        state: state of the run; updated.
        last_changes: changes to make to the records.
        engine: native or NumPy engine.
        checkpoint: folder of the unfinished run.
        progress: called after each write with its number of records.
    """

    def __init__(
        self,
        options: PreprocessOptions,
        state: State,
        last_changes: LastChanges,
        engine: Engine,
        checkpoint: CheckpointFolder,
        progress: Callable[[int], None],
    ) -> None:
        self._options = options
        self._columns = options.columns_of_logs
        self._record_bytes = options.columns_of_logs.record_bytes
        self._keyed_bytes = keyed_dtype(options.columns_of_logs.record_ints).itemsize
        self._state = state
        self._last_changes = last_changes
        self._engine = engine
        self._checkpoint = checkpoint
        self._progress = progress

    def train(self, then: Sequence[Callable[[], None]] = ()) -> SplitInfo:
        """Write the training days.

        Args:
            then: other tasks for workers that have finished their share of the training rows.
        """
        if self._options.randomize != "none":
            return self._from_buckets(then)
        made: list[SplitInfo] = []
        run_threads([lambda: made.append(self._in_order()), *then], self._options.workers)
        return made[0]

    def half(self, split: Split) -> SplitInfo:
        """Write one half of the last day: the first is test (one row larger if odd), the second val."""
        path = self._checkpoint.path / LAST_DAY
        size = path.stat().st_size
        cut = (size // self._record_bytes + 1) // 2 * self._record_bytes
        start, stop = (0, cut) if split == "test" else (cut, size)
        with SplitWriter(self._checkpoint.finished / split_file_name(split), self._columns) as writer:
            for records in read_blocks(path, self._columns.record_ints, start, stop):
                self._last_changes.apply(records)
                writer.append(records)
                self._progress(len(records))
            return writer.close()

    def _from_buckets(self, then: Sequence[Callable[[], None]]) -> SplitInfo:
        path = self._checkpoint.finished / split_file_name("train")
        writer = SplitWriter(path, self._columns, self._state.train_bytes)
        count, first, unsaved = sum(self._state.buckets), self._state.merged, 0
        rows_of = [self._state.file_bytes[bucket_name(b)] // self._keyed_bytes for b in range(first, count)]

        def keyed(place: int) -> Keyed:
            file = self._checkpoint.path / bucket_name(first + place)
            return map_keyed(file, rows_of[place], self._columns.record_ints)

        def finish(place: int, records: Written) -> list[Path]:
            nonlocal unsaved
            done: list[Path] = []
            writer.wrote(records)
            unsaved += records.size_bytes
            # A small run cannot be resumed anyway, so its merged buckets are deleted as soon as possible.
            if unsaved >= self._options.checkpoint_bytes or not self._state.generation:
                done, unsaved = self._save(writer, first + place + 1), 0
            self._progress(records.size_bytes // self._record_bytes)
            return done

        merge = BucketMerge(self._options, self._last_changes.apply, self._engine)
        with writer:
            target = writer.reserve(self._state.train_bytes + self._record_bytes * sum(rows_of))
            merge.run(rows_of, keyed, target, self._state.train_bytes, finish, then)
            for path in self._save(writer, count):
                path.unlink(missing_ok=True)
            return writer.close()

    def _save(self, writer: SplitWriter, merged: int) -> list[Path]:
        """Save the state to resume from, and return the files of merged buckets, which may be deleted."""
        state = self._state
        names = [bucket_name(bucket) for bucket in range(state.merged, merged)]
        for name in names:
            state.file_bytes.pop(name, None)
        state.merged = merged
        if state.generation:
            state.train_bytes = writer.sync()
            self._checkpoint.commit(state)
        return [self._checkpoint.path / name for name in names]

    def _in_order(self) -> SplitInfo:
        with SplitWriter(self._checkpoint.finished / split_file_name("train"), self._columns) as writer:
            for records in read_blocks(self._checkpoint.path / IN_ORDER, self._columns.record_ints):
                self._last_changes.apply(records)
                writer.append(records)
                self._progress(len(records))
            return writer.close()
