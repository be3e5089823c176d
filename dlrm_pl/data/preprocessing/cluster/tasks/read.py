"""The task that reads one file of a log, into buckets of records whose ids only this file's vocabulary knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_description import REJECTED
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.results import attempt, finished_result, save_result
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.plan import allow_files
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.statistics import log_statistics
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.statistics.moments import Moments
from dlrm_pl.data.preprocessing.tables.files import save_tables
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage

COUNTS = "counts.u4"
STATISTICS = "statistics.npz"
MOMENTS = "moments.npy"
TRAIN, LAST = "train", "last"

_NEVER = 1 << 62  # Bytes of text between checkpoints. There are none here: an interrupted file is read again.


@dataclass(frozen=True)
class PartResult:
    """Result of reading a file.

    Attributes:
        file: number of the file.
        rows_before: number of rows in the files before it, as assumed by this task.
        kept_before: number of kept training rows in the files before it, as assumed by this task.
        rows: number of rows that were read.
        kept_train: number of kept rows of training days.
        kept_last: number of kept rows of the last day.
        unknown_values: number of values that are not in the given vocabulary.
        cut_lists: number of lists that were truncated.
        file_bytes: size in bytes of each file of records.
        sizes: number of values of each table; empty if the ids are given.
        shift: id of the first value.
        last_sizes: number of values of each table for the last day alone; empty if there are no such tables.
        last_shift: id of the first value in these tables.
        rejected: number of rows that were left out, by kind.
    """

    file: int
    rows_before: int
    kept_before: int
    rows: int
    kept_train: int
    kept_last: int
    unknown_values: int
    cut_lists: int
    file_bytes: dict[str, int]
    sizes: list[int]
    shift: int
    last_sizes: list[int]
    last_shift: int
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return part_name(self.file, self.rows_before, self.kept_before)


def part_name(file: int, rows_before: int, kept_before: int) -> str:
    """Return the name of a part's folder, whose contents depend on the preceding rows."""
    return f"part_{file}_{rows_before}_{kept_before}"


class _ChunkMoments(Moments):
    """Moments that keep each chunk's numbers, since rounding depends on the order in which they are added."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(Moments.nothing(columns).numbers)
        self.chunks: list[np.ndarray] = []

    def add(self, chunk: Moments) -> None:
        """Remember the numbers of the rows that follow."""
        self.chunks.append(chunk.numbers)


def read_part(job: Job, part: LogPart, progress: Callable[[int, int], None]) -> PartResult:
    """Read one file, and write its records and the values of its categories.

    Args:
        job: the run.
        part: file to read.
        progress: called with the number of rows and bytes of the log.

    Raises:
        DataFormatError: a row cannot be used, more rows than allowed cannot be used, or the file is damaged.
    """
    folder = job.folder / part_name(part.file, part.rows_before, part.kept_before)
    found = finished_result(PartResult, folder)
    if found is not None:
        return found
    with attempt(folder, durable=job.durable) as temporary, job.with_file(part.file) as its, its.naming_files():
        result = _read(its, part, temporary, progress)
        save_result(result, temporary)
        return result


def _read(job: Job, part: LogPart, folder: Path, progress: Callable[[int, int], None]) -> PartResult:
    options, native, log = job.options, engine(), job.log
    columns = options.columns_of_logs
    allow_files(sum(job.buckets))
    given = job.given()
    single = job.num_files == 1
    vocabulary = (
        log.vocabulary(options, given, native) if single else log.vocabulary_of_part(options, given, native, part.file)
    )
    statistics = LogStatistics.nothing(columns, log.num_days)
    moments = statistics.moments = _ChunkMoments(columns)
    state = State(key={}, buckets=job.buckets, read_rows=part.rows_before, kept_rows=part.kept_before)
    log.start_of_part(part, state)
    scatter = log.scatter(
        options=dataclasses.replace(options, checkpoint_bytes=_NEVER),
        state=state,
        statistics=statistics,
        vocabulary=vocabulary,
        engine=native,
        folder=folder,
        progress=progress,
        part=part,
    )
    scatter.run(lambda: None)
    sizes, last_sizes = _save_values(vocabulary, folder)
    statistics.moments = Moments.nothing(columns)
    log_statistics.save(statistics, folder / STATISTICS)
    np.save(folder / MOMENTS, np.array(moments.chunks).reshape(-1, 3, columns.num_dense))
    job.name_rejected(folder / REJECTED)
    last = statistics.days[-1].kept
    return PartResult(
        file=part.file,
        rows_before=part.rows_before,
        kept_before=part.kept_before,
        rows=state.read_rows - part.rows_before,
        kept_train=state.kept_rows - part.kept_before - last,
        kept_last=last,
        unknown_values=state.unknown_values,
        cut_lists=state.cut_lists,
        file_bytes={name: size for name, size in state.file_bytes.items() if size},
        sizes=sizes,
        shift=vocabulary.shift,
        last_sizes=last_sizes,
        last_shift=vocabulary.shift,
        rejected=state.rejected,
    )


def _save_values(vocabulary: VocabularyStage, folder: Path) -> tuple[list[int], list[int]]:
    """Write the values of the tables and of the last day's tables; returns the numbers of values in both."""
    sizes: list[list[int]] = []
    last = vocabulary.tables_of_last_day
    for tables, name in ((None if vocabulary.tables is last else vocabulary.tables, TRAIN), (last, LAST)):
        if vocabulary.is_given or tables is None:
            sizes.append([])
            continue
        (folder / name).mkdir()
        sizes.append(save_tables(tables, folder / name, [0] * len(tables), COUNTS))
    return sizes[0], sizes[1]
