"""Stage that reads the files of a log, several at a time if several machines are free."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from itertools import accumulate

from dlrm_pl.data.preprocessing.cluster.stages import Stages, Task
from dlrm_pl.data.preprocessing.cluster.tasks import calls
from dlrm_pl.data.preprocessing.cluster.tasks.count import PartCount
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.read import PartResult
from dlrm_pl.data.preprocessing.scatter.part import LogPart

log = logging.getLogger(__name__)

_READING = "reading"


def read_parts(stages: Stages, job: Job, cpus: int, at_once: int) -> list[PartResult]:
    """Read all files; returns the result of each, in order.

    The place of a row in the shuffled order depends on its row number over all files. If several files are read at the
    same time, the rows of all files are therefore counted first.

    Args:
        stages: object that runs the tasks.
        job: the run.
        cpus: number of processors that a task uses.
        at_once: number of tasks that run at a time.
    """
    if at_once == 1 or job.num_files == 1:
        return _one_by_one(stages, job, cpus)
    parts = _counted(stages, job, cpus)
    results: dict[int, PartResult] = {}
    while True:
        # Rows that were counted but could not be used change the numbers of all rows after them.
        wrong = [part for part in parts if results.get(part.file) is None or _part_of(results[part.file]) != part]
        if not wrong:
            return [results[file] for file in range(job.num_files)]
        if results:
            log.info(
                "%s of %s files are read again: the files before them have fewer rows than lines",
                len(wrong),
                len(parts),
            )
            for part in wrong:
                shutil.rmtree(job.folder / results[part.file].name, ignore_errors=True)
        started = [_task(job, part, cpus) for part in wrong]
        read = stages.run(_READING, started, _rows)
        results |= {result.file: result for result in read.values()}
        parts = _parts([results[file].rows for file in range(job.num_files)], _kept(results))


def _one_by_one(stages: Stages, job: Job, cpus: int) -> list[PartResult]:
    results: list[PartResult] = []
    for file in range(job.num_files):
        part = LogPart(file, sum(result.rows for result in results), sum(result.kept_train for result in results))
        task = _task(job, part, cpus)
        read = stages.run(_READING, [task], _rows, before=sum(job.sizes[:file]), total=sum(job.sizes))
        results.append(read[task.name])
    return results


def _counted(stages: Stages, job: Job, cpus: int) -> list[LogPart]:
    """Return all files with the number of rows before each, as far as it can be known without reading the files."""
    last = job.num_files - 1
    counts: list[PartCount] = list(
        stages.run(
            "counting", [Task(f"file {file}", calls.count, (job, file), cpus, job.sizes[file]) for file in range(last)]
        ).values()
    )
    counts.sort(key=lambda counted: counted.file)
    rows = [counted.rows for counted in counts]
    before = list(accumulate(rows, initial=0))
    unknown = [counted for counted in counts if counted.kept_train is None]
    kept = stages.run(
        "counting",
        [Task(f"kept {counted.file}", calls.kept, (job, counted, before[counted.file]), 1) for counted in unknown],
    )
    return _parts(
        [*rows, 0],
        [*(kept[f"kept {c.file}"] if c.kept_train is None else c.kept_train for c in counts), 0],
    )


def _parts(rows: Sequence[int], kept: Sequence[int]) -> list[LogPart]:
    before = zip(accumulate(rows, initial=0), accumulate(kept, initial=0), strict=True)
    return [LogPart(file, *numbers) for file, numbers in zip(range(len(rows)), before, strict=False)]


def _kept(results: dict[int, PartResult]) -> list[int]:
    return [results[file].kept_train for file in sorted(results)]


def _part_of(result: PartResult) -> LogPart:
    return LogPart(result.file, result.rows_before, result.kept_before)


def _task(job: Job, part: LogPart, cpus: int) -> Task:
    return Task(f"file {part.file}", calls.read, (job, part), cpus, job.sizes[part.file])


def _rows(result: PartResult) -> int:
    return result.rows + sum(result.rejected.values())
