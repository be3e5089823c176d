"""Tasks that count the rows of a file, so that the files after it can be read at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.results import attempt, finished_result, save_result
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.scatter.stage import kept_by_subsample

_LABELS = "labels.npz"


@dataclass(frozen=True)
class PartCount:
    """Number of rows of a file.

    Attributes:
        file: number of the file.
        rows: number of rows in the file; too large if some of them turn out to be unusable.
        kept_train: number of these rows that are kept and belong to training days; None if it depends on the rows
            before the file.
    """

    file: int
    rows: int
    kept_train: int | None


def count_part(job: Job, file: int, progress: Callable[[int], None]) -> PartCount:
    """Count the rows of a file.

    Args:
        job: the run.
        file: number of the file.
        progress: called with the number of bytes read.

    Raises:
        DataFormatError: the file is missing, truncated or corrupt.
    """
    folder = job.folder / f"count_{file}"
    found = finished_result(PartCount, folder)
    if found is not None:
        return found
    options = job.options
    with attempt(folder, durable=job.durable) as temporary, job.with_file(file) as its, its.naming_files():
        exact = options.bad_rows is not None or options.subsample_rate
        rows = None if exact else its.log.count_rows(file, progress)
        if rows is not None:
            result = PartCount(file, rows, 0 if its.log.is_last_day(file) else rows)
        else:
            labels = its.log.labels(file, options, engine(), progress)
            kept = None if options.subsample_rate else int(np.count_nonzero(~labels.last))
            np.savez(temporary / _LABELS, clicks=np.packbits(labels.clicks), last=np.packbits(labels.last))
            result = PartCount(file, len(labels.clicks), kept)
        save_result(result, temporary)
        return result


def count_kept(job: Job, counted: PartCount, rows_before: int) -> int:
    """Return how many training rows of a file the sub-sample keeps.

    Args:
        job: the run.
        counted: row counts of the file.
        rows_before: number of rows in the files before it.
    """
    with np.load(job.folder / f"count_{counted.file}" / _LABELS) as labels:
        clicks, last = (np.unpackbits(labels[name], count=counted.rows).astype(np.bool_) for name in ("clicks", "last"))
    return int(np.count_nonzero(kept_by_subsample(job.options, clicks, rows_before) & ~last))
