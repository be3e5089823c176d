"""The task that does a whole run if only one task runs at a time: as on one machine, with its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlrm_pl.data.formats.dataset_description import REJECTED
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.log_run import LogRun
from dlrm_pl.errors import OutputError
from dlrm_pl.files.locks import folder_lock

_PATIENCE_S = 60.0


def preprocess_log(job: Job, output: Path, key: dict[str, Any], progress: Callable[[str, float, int], None]) -> int:
    """Make the dataset, or continue after a task that was lost with its machine; returns the number of rows read.

    Args:
        job: the run.
        output: folder that becomes the dataset.
        key: options and inputs of the run, as JSON values.
        progress: called with the stage, the share of it that is done, and the number of rows since the last call.
    """
    checkpoint = CheckpointFolder(output)
    with _alone(checkpoint.path), job.naming_files():
        report = LogRun(job.log, job.options, key, checkpoint, progress).make().report
        if (checkpoint.finished / REJECTED).exists():
            job.name_rejected(checkpoint.finished / REJECTED)
    return int(report["rows"] + sum(report["rejected"].values()))


def forget_lock(folder: Path) -> None:
    """Remove the file left by a task that was killed while it held the lock."""
    folder.with_name(f".{folder.name}.lock").unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock, so that a task whose machine was thought to be lost does not write alongside its successor."""
    began = time.monotonic()
    while True:
        try:
            lock = folder_lock(folder)
            lock.__enter__()
            break
        except OutputError:
            if time.monotonic() - began > _PATIENCE_S:
                raise
            time.sleep(1)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
