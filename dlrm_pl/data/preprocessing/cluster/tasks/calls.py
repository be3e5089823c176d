"""Functions that run on the machines: each notes its progress, and returns at once if its work was done before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.cluster.tasks.count import PartCount, count_kept, count_part
from dlrm_pl.data.preprocessing.cluster.tasks.ends import (
    DictionariesResult,
    LastDayResult,
    write_dictionaries,
    write_last_day,
)
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.noted import Noted
from dlrm_pl.data.preprocessing.cluster.tasks.read import PartResult, read_part
from dlrm_pl.data.preprocessing.cluster.tasks.train import RangeResult, TrainRange, write_range
from dlrm_pl.data.preprocessing.cluster.tasks.values import TableResult, merge_tables
from dlrm_pl.data.preprocessing.cluster.tasks.whole import preprocess_log
from dlrm_pl.data.preprocessing.scatter.part import LogPart


def count(name: str, board: Any, job: Job, file: int) -> PartCount:
    """Count the rows of a file."""
    noted = Noted(board, name)
    return count_part(job, file, lambda size: noted.add(size, 0))


def kept(name: str, board: Any, job: Job, counted: PartCount, rows_before: int) -> int:
    """Count the training rows of a file that the sub-sample keeps."""
    return count_kept(job, counted, rows_before)


def read(name: str, board: Any, job: Job, part: LogPart) -> PartResult:
    """Read a file."""
    noted = Noted(board, name)
    return read_part(job, part, lambda rows, size: noted.add(size, rows))


def merge(name: str, board: Any, job: Job, numbers: Sequence[int], parts: Sequence[PartResult]) -> list[TableResult]:
    """Merge the values of tables."""
    return merge_tables(job, numbers, parts)


def whole(name: str, board: Any, job: Job, output: Path, key: dict[str, Any]) -> int:
    """Do a whole run."""
    noted = Noted(board, name)
    return preprocess_log(job, output, key, noted.tell)


def dictionaries(
    name: str, board: Any, job: Job, columns: Columns, tables: dict[int, TableResult]
) -> DictionariesResult:
    """Write the dictionaries."""
    return write_dictionaries(job, columns, tables)


def last_day(
    name: str, board: Any, job: Job, columns: Columns, parts: Sequence[PartResult], tables: dict[int, TableResult]
) -> LastDayResult:
    """Write test and val."""
    noted = Noted(board, name)
    return write_last_day(job, columns, parts, tables, lambda rows: noted.add(rows, 0))


def train(
    name: str,
    board: Any,
    job: Job,
    columns: Columns,
    parts: Sequence[PartResult],
    tables: dict[int, TableResult],
    chosen: TrainRange,
) -> RangeResult:
    """Write a range of the training rows."""
    noted = Noted(board, name)
    return write_range(job, columns, parts, tables, chosen, lambda rows: noted.add(rows, 0))
