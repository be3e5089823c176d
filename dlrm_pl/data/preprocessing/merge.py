"""The second stage of a run: sort each bucket in memory, append it to its split, and halve the last day."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import Split, split_file_name
from dlrm_pl.data.formats.block_checksum import block_bytes, part_at
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, State
from dlrm_pl.data.preprocessing.engine.native import Order, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.io.bucket_reader import map_keyed, read_blocks
from dlrm_pl.data.preprocessing.io.direct import AlignedBuffer, DirectFile
from dlrm_pl.data.preprocessing.io.split_writer import SplitWriter, Written
from dlrm_pl.data.preprocessing.last_changes import LastChanges
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.row_files import IN_ORDER, LAST_DAY, bucket_name
from dlrm_pl.data.preprocessing.threads import Pipeline, run_threads

log = logging.getLogger(__name__)

_WRITE_BLOCKS = 4
_BUCKET_FACTOR = 2.2  # Memory of a bucket while it is sorted: the bucket, its records and their order.


class Merge:
    """The second stage of a run: write the three splits.

    Args:
        options: options of the run.
        state: state of the run; updated.
        last_changes: what changes in the records.
        engine: native or NumPy engine.
        checkpoint: folder of the unfinished run.
        progress: called with the number of records after each write.
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
        self._block_bytes = block_bytes(self._columns)
        self._state = state
        self._last_changes = last_changes
        self._engine = engine
        self._checkpoint = checkpoint
        self._progress = progress

    def train(self, then: Sequence[Callable[[], None]] = ()) -> SplitInfo:
        """Write the training days.

        Args:
            then: other tasks, for workers that have finished their part of the training rows.
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
        count = sum(self._state.buckets)
        pipeline = Pipeline(1)
        first, lock, unsaved = self._state.merged, threading.Lock(), 0
        taken = iter(range(first, count))
        rows_of = [self._state.file_bytes[bucket_name(b)] // self._keyed_bytes for b in range(first, count)]
        offsets = list(accumulate((self._record_bytes * rows for rows in rows_of), initial=self._state.train_bytes))

        def finish(bucket: int, records: Written) -> None:
            nonlocal unsaved
            records.wait()
            done: list[Path] = []
            with pipeline.turn(0, bucket - first):
                writer.wrote(records)
                unsaved += records.size_bytes
                # A small run cannot be resumed anyway, so its merged buckets are deleted as soon as possible.
                if unsaved >= self._options.checkpoint_bytes or not self._state.generation:
                    done, unsaved = self._save(writer, bucket + 1), 0
                self._progress(records.size_bytes // self._record_bytes)
            for path in done:
                path.unlink(missing_ok=True)

        def process_buckets() -> None:
            # The next bucket uses the same memory: fresh pages would take as long as the sorting.
            memory = AlignedBuffer(self._record_bytes * max(rows_of, default=0))
            with ThreadPoolExecutor(1) as disk:
                before: tuple[int, Written] | None = None
                while True:
                    with lock:
                        bucket = next(taken, None)
                    if bucket is not None:
                        file = self._checkpoint.path / bucket_name(bucket)
                        keyed = map_keyed(file, rows_of[bucket - first], self._columns.record_ints)
                        order = self._engine.order(keyed)
                    # The previous bucket was being written during the sort.
                    if before is not None:
                        finish(*before)
                    if bucket is None:
                        return
                    offset = offsets[bucket - first]
                    data = memory.at(offset, self._record_bytes * len(order))
                    before = bucket, self._collect(keyed, order, offset, data, target, disk)
                    del keyed, order  # Free them before the next bucket is mapped.

        # Buckets can be larger than planned: an earlier run had a larger budget, or there were more rows.
        bucket_bytes = _BUCKET_FACTOR * self._keyed_bytes * max(rows_of, default=0)
        workers = max(1, min(self._options.workers, int(self._options.memory_bytes / max(1, bucket_bytes))))
        if workers < self._options.workers:
            log.warning("%s workers instead of %s: buckets are larger than planned", workers, self._options.workers)
        with writer:
            target = writer.reserve(offsets[-1])
            run_threads([process_buckets] * workers + [*then], workers, pipeline.stop)
            for path in self._save(writer, count):
                path.unlink(missing_ok=True)
            return writer.close()

    def _collect(
        self,
        keyed: npt.NDArray[np.void],
        order: Order,
        offset: int,
        data: npt.NDArray[np.uint8],
        target: DirectFile,
        disk: ThreadPoolExecutor,
    ) -> Written:
        """Start to write a bucket's sorted records to their place in the split.

        Each block is collected, mapped and added to the checksum while it is in the processor's cache. Meanwhile
        another thread writes several blocks together.

        Args:
            keyed: records of the bucket.
            order: rows in the order in which they are written.
            offset: first byte in the split's file.
            data: memory for the sorted records.
            target: file of the split.
            disk: thread that writes.
        """
        written, begun = Written(len(data)), 0
        edges = [0, *range(-offset % self._block_bytes or self._block_bytes, len(data), self._block_bytes), len(data)]
        for start, stop in pairwise(edges):
            block = data[start:stop]
            records = block.view(np.int32).reshape(-1, self._columns.record_ints)
            rows = order[start // self._record_bytes : stop // self._record_bytes]
            written.positives += self._engine.take(keyed, rows, records)
            self._last_changes.apply(records)
            written.parts.append(part_at(offset + start, block.data, self._block_bytes))
            if stop - begun >= _WRITE_BLOCKS * self._block_bytes or stop == len(data):
                written.writes.append(disk.submit(target.write, offset + begun, data[begun:stop]))
                begun = stop
        return written

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
