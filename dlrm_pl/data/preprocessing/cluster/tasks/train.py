"""The task that writes a range of the training rows to its place in the file that all machines share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records, split_file_name
from dlrm_pl.data.formats.block_checksum import DIGEST_BYTES, BlockChecksum, Part, block_bytes, part_at
from dlrm_pl.data.preprocessing.bucket_merge import BucketMerge
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.read import PartResult
from dlrm_pl.data.preprocessing.cluster.tasks.records import PartRecords, Piece
from dlrm_pl.data.preprocessing.cluster.tasks.results import attempt, finished_result, save_result
from dlrm_pl.data.preprocessing.cluster.tasks.values import TableResult
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.io.direct import ALIGNMENT, DirectFile
from dlrm_pl.data.preprocessing.io.split_writer import Written

_DIGESTS = "digests"
_HEAD, _TAIL = "head", "tail"


@dataclass(frozen=True)
class TrainRange:
    """A range of the training rows.

    Attributes:
        start: offset of the first byte in the file.
        stop: offset after the last byte.
        buckets: pieces of each bucket; if rows keep their order, there is one bucket per file of the log.
    """

    start: int
    stop: int
    buckets: list[list[Piece]]

    @property
    def name(self) -> str:
        """Name of the folder of the result."""
        return f"train_{self.start}_{self.stop}"

    @property
    def pieces(self) -> list[Piece]:
        """All pieces of the range."""
        return [piece for bucket in self.buckets for piece in bucket]


@dataclass(frozen=True)
class RangeResult:
    """Result of writing a range.

    Attributes:
        positives: number of clicks.
        first_block: number of the first block of the file that lies in the range.
        num_blocks: number of blocks that lie in the range.
    """

    positives: int
    first_block: int
    num_blocks: int


def write_range(
    job: Job,
    columns: Columns,
    parts: Sequence[PartResult],
    tables: dict[int, TableResult],
    chosen: TrainRange,
    progress: Callable[[int], None],
) -> RangeResult:
    """Write a range of the training rows, and delete the buckets that they came from.

    Args:
        job: the run.
        columns: columns of the dataset, with all numbers of their transforms.
        parts: results of reading all files.
        tables: the merged tables, by table number.
        chosen: range to write.
        progress: called after each write with its number of records.
    """
    folder = job.folder / chosen.name
    records = PartRecords(job, columns, parts, tables)
    result = finished_result(RangeResult, folder)
    if result is None:
        with attempt(folder, durable=job.durable) as temporary:
            result = _write(job, columns, records, chosen, progress, temporary)
            save_result(result, temporary)
    records.remove(chosen.pieces)
    return result


def finish_train(job: Job, columns: Columns, ranges: Sequence[TrainRange], results: Sequence[RangeResult]) -> bytes:
    """Write the pages that two ranges share, and return the digests of all blocks of the file."""
    path = job.finished / split_file_name("train")
    size = block_bytes(columns)
    known: dict[int, bytes] = {}
    with path.open("r+b") as handle:
        for written, result in zip(ranges, results, strict=True):
            folder = job.folder / written.name
            for name in (_HEAD, _TAIL):
                for offset, data in _load_edges(folder / name):
                    handle.seek(offset)
                    handle.write(data)
            digests = (folder / _DIGESTS).read_bytes()
            for number in range(result.num_blocks):
                known[result.first_block + number] = digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
        handle.flush()
        total = handle.seek(0, 2)
        parts = []
        for number in range(-(-total // size)):
            if number not in known:
                handle.seek(number * size)
                checksum = BlockChecksum(size)
                checksum.update(memoryview(handle.read(size)))
                known[number] = checksum.digests()
            parts.append(known[number])
    return b"".join(parts)


def _write(
    job: Job,
    columns: Columns,
    records: PartRecords,
    chosen: TrainRange,
    progress: Callable[[int], None],
    folder: Path,
) -> RangeResult:
    checksum = _RangeChecksum(chosen.start, chosen.stop, block_bytes(columns))
    target = _WholePages(job.finished / split_file_name("train"), chosen.start, chosen.stop)
    try:
        if job.options.randomize == "none":
            _copy(columns, records, chosen, target, checksum, progress)
        else:
            _sort(job, records, chosen, target, checksum, progress)
    finally:
        target.close()
    target.save(folder)
    (folder / _DIGESTS).write_bytes(checksum.digests())
    return RangeResult(checksum.positives, checksum.first_block, checksum.num_blocks)


def _sort(
    job: Job,
    records: PartRecords,
    chosen: TrainRange,
    target: _WholePages,
    checksum: _RangeChecksum,
    progress: Callable[[int], None],
) -> None:
    columns = job.options.columns_of_logs

    def finish(bucket: int, written: Written) -> list[Path]:
        checksum.positives += written.positives
        for part in written.parts:
            checksum.add(part)
        progress(written.size_bytes // columns.record_bytes)
        return []

    def nothing(rows: Records) -> None:
        """Change nothing: the pieces have their final ids."""

    records.load(chosen.pieces)
    rows_of = [sum(piece.rows for piece in bucket) for bucket in chosen.buckets]
    merge = BucketMerge(job.options, nothing, engine())
    merge.run(rows_of, lambda bucket: records.keyed(chosen.buckets[bucket]), target, chosen.start, finish)


def _copy(
    columns: Columns,
    records: PartRecords,
    chosen: TrainRange,
    target: _WholePages,
    checksum: _RangeChecksum,
    progress: Callable[[int], None],
) -> None:
    offset = chosen.start
    for piece in chosen.pieces:
        for block in records.blocks(piece, last_day=False):
            data = block.reshape(-1).view(np.uint8)
            target.write(offset, data)
            checksum.positives += int(np.count_nonzero(block[:, LABEL]))
            checksum.add(part_at(offset, data.data, block_bytes(columns)))
            offset += len(data)
            progress(len(block))


class _WholePages:
    """A range of a file that other machines write at the same time: the pages at its ends are kept for later.

    On a network file system, two machines that write to the same page may overwrite each other's data.
    """

    def __init__(self, path: Path, start: int, stop: int) -> None:
        self._start, self._stop = start, stop
        self._first = min(-(-start // ALIGNMENT) * ALIGNMENT, stop)
        self._last = max(self._first, stop // ALIGNMENT * ALIGNMENT)
        self._head = bytearray(self._first - start)
        self._tail = bytearray(stop - self._last)
        self._file = DirectFile(path, self._first, self._last)

    def write(self, offset: int, data: npt.NDArray[np.uint8]) -> None:
        """Write bytes at an offset."""
        end = offset + len(data)
        first, last = min(max(offset, self._first), end), max(min(end, self._last), offset)
        if first < last:
            self._file.write(first, data[first - offset : last - offset])
        if offset < self._first:
            stop = min(end, self._first)
            self._head[offset - self._start : stop - self._start] = data[: stop - offset].tobytes()
        if end > self._last:
            start = max(offset, self._last)
            self._tail[start - self._last : end - self._last] = data[start - offset :].tobytes()

    def save(self, folder: Path) -> None:
        """Write the bytes of the shared pages to files."""
        (folder / _HEAD).write_bytes(self._start.to_bytes(8, "little") + self._head)
        (folder / _TAIL).write_bytes(self._last.to_bytes(8, "little") + self._tail)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _load_edges(path: Path) -> list[tuple[int, bytes]]:
    data = path.read_bytes()
    return [(int.from_bytes(data[:8], "little"), data[8:])] if len(data) > 8 else []


class _RangeChecksum:
    """Digests of the whole blocks of a range, and its number of clicks."""

    def __init__(self, start: int, stop: int, size: int) -> None:
        self.first_block = -(-start // size)
        self.num_blocks = max(0, stop // size - self.first_block)
        self.positives = 0
        self._skip = min(-start % size, stop - start)
        self._checksum = BlockChecksum(size)

    def add(self, part: Part) -> None:
        """Add the next part; bytes before the first whole block are left out."""
        head, skipped = part.head, min(self._skip, len(part.head))
        self._skip -= skipped
        self._checksum.add(Part(head[skipped:], part.digests, part.tail))

    def digests(self) -> bytes:
        """Return the digests, one after the other."""
        return self._checksum.digests()[: self.num_blocks * DIGEST_BYTES]
