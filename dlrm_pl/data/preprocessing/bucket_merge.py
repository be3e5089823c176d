"""Sort buckets in memory, several at once, and write their records one after the other to a split."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.data.formats.block_checksum import block_bytes, part_at
from dlrm_pl.data.preprocessing.engine.native import Keyed, Order, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.io.direct import AlignedBuffer
from dlrm_pl.data.preprocessing.io.split_writer import Written
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.threads import InOrder, run_threads

log = logging.getLogger(__name__)

_WRITE_BLOCKS = 4
_EARLY_BUCKETS = 4  # Per thread, written before those of a slower thread; each keeps at most two blocks.
_EARLY_SHARE = 0.05  # Share of the memory budget for these blocks.
_BUCKET_FACTOR = 2.2  # Memory for sorting a bucket, relative to its size: the bucket, its records and their order.


class WritableAt(Protocol):
    """A file that can be written in any order."""

    def write(self, offset: int, data: npt.NDArray[np.uint8]) -> None:
        """Write bytes at an offset."""


class BucketMerge:
    """Sorts buckets and writes them.

    Args:
        options: options of the run.
        apply: function that changes records in place.
        engine: native or NumPy engine.
    """

    def __init__(self, options: PreprocessOptions, apply: Callable[[Records], None], engine: Engine) -> None:
        self._options = options
        self._apply = apply
        self._engine = engine
        self._record_ints = options.columns_of_logs.record_ints
        self._record_bytes = options.columns_of_logs.record_bytes
        self._block_bytes = block_bytes(options.columns_of_logs)

    def run(
        self,
        rows_of: Sequence[int],
        keyed: Callable[[int], Keyed],
        target: WritableAt,
        start: int,
        finish: Callable[[int, Written], Sequence[Path]],
        then: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Sort and write buckets.

        Args:
            rows_of: number of rows of each bucket.
            keyed: function that returns the records of a bucket.
            target: file of the split.
            start: byte offset in the split at which the first bucket begins.
            finish: called for each bucket, in order, when its records are in the file; returns files to delete.
            then: other tasks for workers that have finished their share of the buckets.
        """
        lock = threading.Lock()
        taken = iter(range(len(rows_of)))
        offsets = list(accumulate((self._record_bytes * rows for rows in rows_of), initial=start))

        def finish_and_delete(bucket: int, records: Written) -> None:
            for path in finish(bucket, records):
                path.unlink(missing_ok=True)

        workers = self._workers(rows_of)
        affordable = int(_EARLY_SHARE * self._options.memory_bytes / (2 * self._block_bytes))
        in_order = InOrder(finish_and_delete, min(_EARLY_BUCKETS * workers, affordable), Written.kept)

        def process_buckets() -> None:
            # All buckets of a thread reuse this memory: touching fresh pages would take as long as sorting.
            memory = AlignedBuffer(self._record_bytes * max(rows_of, default=0))
            with ThreadPoolExecutor(1) as disk:
                before: tuple[int, Written] | None = None
                while True:
                    with lock:
                        bucket = next(taken, None)
                    if bucket is not None:
                        records = keyed(bucket)
                        order = self._engine.order(records)
                    # The previous bucket was written while this one was sorted.
                    if before is not None:
                        before[1].wait()
                        in_order.give(*before)
                    if bucket is None:
                        return
                    offset = offsets[bucket]
                    data = memory.at(offset, self._record_bytes * len(order))
                    before = bucket, self._collect(records, order, offset, data, target, disk)
                    del records, order  # Free them before the next bucket is read.

        run_threads([process_buckets] * workers + [*then], workers, in_order.stop)

    def _workers(self, rows_of: Sequence[int]) -> int:
        """Return the number of threads whose buckets fit the memory budget."""
        # Buckets can be larger than planned: an earlier run had a larger budget, or there were more rows.
        bucket_bytes = _BUCKET_FACTOR * keyed_dtype(self._record_ints).itemsize * max(rows_of, default=0)
        workers = max(1, min(self._options.workers, int(self._options.memory_bytes / max(1, bucket_bytes))))
        if workers < self._options.workers:
            log.warning(
                "using %s workers instead of %s: buckets are larger than planned", workers, self._options.workers
            )
        return workers

    def _collect(
        self,
        keyed: Keyed,
        order: Order,
        offset: int,
        data: npt.NDArray[np.uint8],
        target: WritableAt,
        disk: ThreadPoolExecutor,
    ) -> Written:
        """Start to write a bucket's sorted records to their place in the split.

        Each block is collected, changed by ``apply`` and added to the checksum while it is in the processor's cache.
        Meanwhile, another thread writes several blocks at a time.

        Args:
            keyed: keyed records of the bucket.
            order: rows in the order in which they are written.
            offset: offset of the first byte in the split's file.
            data: memory for the sorted records.
            target: file of the split.
            disk: the thread that writes.
        """
        written, begun = Written(len(data)), 0
        edges = [0, *range(-offset % self._block_bytes or self._block_bytes, len(data), self._block_bytes), len(data)]
        for start, stop in pairwise(edges):
            block = data[start:stop]
            records = block.view(np.int32).reshape(-1, self._record_ints)
            rows = order[start // self._record_bytes : stop // self._record_bytes]
            written.positives += self._engine.take(keyed, rows, records)
            self._apply(records)
            written.parts.append(part_at(offset + start, block.data, self._block_bytes))
            if stop - begun >= _WRITE_BLOCKS * self._block_bytes or stop == len(data):
                written.writes.append(disk.submit(target.write, offset + begun, data[begun:stop]))
                begun = stop
        return written
