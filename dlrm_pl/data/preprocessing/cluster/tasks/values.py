"""The task that merges a table's values from all files: numbered by first appearance, in the order of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.tables import integer_table, string_table
from dlrm_pl.data.lookup.values import Counts, Numbers
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.read import COUNTS, LAST, TRAIN, PartResult
from dlrm_pl.data.preprocessing.cluster.tasks.results import attempt, finished_result, save_result
from dlrm_pl.data.preprocessing.tables.files import save_tables, saved_table
from dlrm_pl.data.preprocessing.tables.stage import mapping_of

_COUNT_MAX = np.iinfo(np.uint32).max
_INTEGER = np.dtype(np.int64)


@dataclass(frozen=True)
class TableResult:
    """Result of merging a table.

    Attributes:
        table: number of the table.
        size: number of values.
        unknown_values: number of elements of the last day whose value does not have its own id.
        same: for each file, whether the ids of its training rows are already the final ones.
    """

    table: int
    size: int
    unknown_values: int
    same: list[bool]


class SavedValues:
    """A merged table, read from its files whenever it is needed; see ``ValueTable``."""

    def __init__(self, job: Job, table: int, size: int) -> None:
        self._folder = job.folder / table_name(table)
        self._kind = _kind_of_merged(job, table)
        self._size = size

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Memory that the table takes: none."""
        return 0

    def read(self, first: int = 0) -> tuple[Any, Counts]:
        """Return the values from number ``first`` on, and the counts of all."""
        if first == self._size:
            return (), np.fromfile(self._folder / COUNTS, np.uint32, self._size)
        values, counts = saved_table(self._folder, 0, self._kind, [self._size], COUNTS)
        assert first == 0
        return values, counts

    def restore(self, values: Any, counts: Counts) -> None:
        """Do nothing: the values stay as they were merged."""
        raise NotImplementedError


def table_name(table: int) -> str:
    """Return the name of a table's folder."""
    return f"table_{table}"


def mapping_path(job: Job, table: int, file: int, rows: str) -> Path:
    """Return the file that maps the ids of one file's vocabulary to the final ids.

    Args:
        job: the run.
        table: number of the table.
        file: number of the file.
        rows: ``train``, or ``last`` for rows of the last day whose values were numbered separately.
    """
    return job.folder / table_name(table) / f"{rows}_{file}.i4"


def merge_tables(job: Job, tables: Sequence[int], parts: Sequence[PartResult]) -> list[TableResult]:
    """Merge the values of some tables; see ``merge_table``."""
    return [merge_table(job, table, parts) for table in tables]


def merge_table(job: Job, table: int, parts: Sequence[PartResult]) -> TableResult:
    """Merge the values of a table.

    Args:
        job: the run.
        table: number of the table.
        parts: results of reading all files, in order.
    """
    folder = job.folder / table_name(table)
    found = finished_result(TableResult, folder)
    if found is not None:
        return found
    with attempt(folder, durable=job.durable) as temporary:
        result = _merged(job, table, parts, temporary)
        save_result(result, temporary)
        return result


def _merged(job: Job, table: int, parts: Sequence[PartResult], folder: Path) -> TableResult:
    kind = _kind_of_part(job, table)
    merged = string_table() if isinstance(kind, Strings) else integer_table()
    counts = np.zeros(0, np.int64)
    numbers: list[Numbers] = []
    for part in parts:
        if not part.sizes:
            numbers.append(np.zeros(0, np.int32))
            continue
        values, more = saved_table(job.folder / part.name / TRAIN, table, kind, part.sizes, COUNTS)
        numbers.append(merged.number(_wide(values), learn=True))
        counts = np.concatenate([counts, np.zeros(len(merged) - len(counts), np.int64)])
        counts[numbers[-1]] += more  # Each value occurs only once in a part.
    clipped = np.minimum(counts, _COUNT_MAX).astype(np.uint32)
    options = job.options
    shift = int(options.vocabulary == "train_only")
    rare = mapping_of(clipped, options.min_count) if options.min_count > 1 else None
    same = []
    for part, numbered in zip(parts, numbers, strict=True):
        if part.sizes:
            final = _final(numbered, part.shift, shift, rare)
            same.append(bool((final == np.arange(len(final))).all()))
            final.tofile(folder / mapping_path(job, table, part.file, TRAIN).name)
        else:
            same.append(True)
    unknown = 0
    for part in parts:
        if part.last_sizes:
            values, more = saved_table(job.folder / part.name / LAST, table, kind, part.last_sizes, COUNTS)
            numbered = merged.number(_wide(values), learn=False)
            unknown += int(more[numbered < 0].sum(dtype=np.int64))
            final = _final(numbered, part.last_shift, shift, rare)
            final.tofile(folder / mapping_path(job, table, part.file, LAST).name)
    # Saved with the counts over rows instead of the merged table's own, which are over parts.
    read, _ = merged.read()
    save_tables([_Counted(read, clipped)], folder, [0], COUNTS)
    return TableResult(table, len(merged), unknown, same)


@dataclass(frozen=True)
class _Counted:
    """Values with counts, as a table that is saved."""

    values: Any
    counts: Counts

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def nbytes(self) -> int:
        return 0

    def read(self, first: int = 0) -> tuple[Any, Counts]:
        return self.values, self.counts

    def restore(self, values: Any, counts: Counts) -> None:
        raise NotImplementedError


def _final(numbers: Numbers, part_shift: int, shift: int, rare: Numbers | None) -> Numbers:
    """Return the final id of each id that a part's vocabulary gave; a number of -1 becomes 0."""
    ids = np.where(numbers < 0, 0, numbers + shift).astype(np.int32)
    if rare is not None:
        ids = rare[ids]
    # The leading id is for values that are not even in the part's vocabulary.
    return np.concatenate([np.zeros(part_shift, np.int32), ids])


def _kind_of_part(job: Job, table: int) -> Strings | np.dtype[Any]:
    """Return the type of a table's values in the files of a part."""
    kind = _kind_of_merged(job, table)
    return kind if isinstance(kind, Strings) else job.log.value_type


def _kind_of_merged(job: Job, table: int) -> Strings | np.dtype[Any]:
    """Return the type of a table's values after the merge."""
    column = job.options.columns_of_logs.sparse[table]
    return Strings(np.zeros(1, np.int64), np.zeros(0, np.uint8)) if column.kind == "string" else _INTEGER


def _wide(values: Any) -> Any:
    return values if isinstance(values, Strings) else values.astype(np.int64)
