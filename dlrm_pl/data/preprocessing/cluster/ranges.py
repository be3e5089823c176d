"""Division of the work: ranges of the training rows that tasks write, and groups of tables that they merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.read import PartResult
from dlrm_pl.data.preprocessing.cluster.tasks.records import Piece
from dlrm_pl.data.preprocessing.cluster.tasks.train import TrainRange
from dlrm_pl.data.preprocessing.engine.native import keyed_dtype
from dlrm_pl.data.preprocessing.scatter.row_files import IN_ORDER, bucket_name

RANGE_BYTES = 1 << 30
"""Minimum size of a range: each task reads the final ids of all values once."""

_RANGES_BY_TASK = 4  # Per task that runs at a time, so that no machine waits long for another.


def train_ranges(job: Job, parts: Sequence[PartResult], at_once: int) -> list[TrainRange]:
    """Return the ranges in order.

    Args:
        job: the run.
        parts: results of reading all files.
        at_once: number of tasks that run at a time.
    """
    columns = job.options.columns_of_logs
    record = columns.record_bytes
    buckets = _runs(parts) if job.options.randomize == "none" else _buckets(job, parts)
    ends = list(accumulate((sum(piece.rows for piece in bucket) * record for bucket in buckets), initial=0))
    wanted = _range_bytes(ends[-1], at_once)
    ranges, first = [], 0
    for bucket in range(1, len(ends)):
        if ends[bucket] - ends[first] >= wanted or bucket == len(ends) - 1:
            ranges.append(TrainRange(ends[first], ends[bucket], buckets[first:bucket]))
            first = bucket
    return [written for written in ranges if written.start < written.stop]


def ranges_bytes(total: int, at_once: int) -> int:
    """Return the total size in bytes of the ranges that are written at a time.

    Args:
        total: size of the output in bytes.
        at_once: number of tasks that run at a time.
    """
    return min(total, at_once * _range_bytes(total, at_once))


def _range_bytes(total: int, at_once: int) -> int:
    return max(RANGE_BYTES, total // (_RANGES_BY_TASK * at_once))


def groups_of(sizes: Mapping[int, int], least: int) -> list[list[int]]:
    """Return groups of tables with about ``least`` values each, starting with the largest tables.

    Args:
        sizes: number of values of each table.
        least: number of values that completes a group.
    """
    groups: list[list[int]] = []
    left = 0
    for table in sorted(sizes, key=lambda number: -sizes[number]):
        if left <= 0:
            groups.append([])
            left = least
        groups[-1].append(table)
        left -= sizes[table]
    return groups


def _runs(parts: Sequence[PartResult]) -> list[list[Piece]]:
    return [[Piece(part.file, IN_ORDER, part.kept_train)] for part in parts if part.kept_train]


def _buckets(job: Job, parts: Sequence[PartResult]) -> list[list[Piece]]:
    keyed = keyed_dtype(job.options.columns_of_logs.record_ints).itemsize

    def pieces(name: str) -> Iterator[Piece]:
        for part in parts:
            if size := part.file_bytes.get(name):
                yield Piece(part.file, name, size // keyed)

    return [list(pieces(bucket_name(bucket))) for bucket in range(sum(job.buckets))]
