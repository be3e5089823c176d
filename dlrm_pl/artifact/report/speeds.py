"""Batch size and number of threads with which the speeds of a report were measured."""

from __future__ import annotations

from collections.abc import Sequence

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.quantization.search.trials.trial import Trial


def certification_speed(certificate: Certificate) -> str:
    """Describe the batch size and threads of the speeds on the certification rows.

    Only full batches are timed, or the single batch if there are fewer rows than a full batch has.
    """
    batch = min(certificate.batch_size, certificate.rows or certificate.batch_size)
    return batch_and_threads(batch, certificate.machine.get("threads"))


def trial_speeds(trials: Sequence[Trial], certificate: Certificate) -> str:
    """Describe in one sentence how the speeds of the trials were measured; "" if none is known."""
    timed = [trial.latency for trial in trials if trial.latency is not None]
    if timed:
        how = batch_and_threads(timed[-1].batch_size, timed[-1].threads)
        sentence = f"Speeds of accepted trials were measured in turn with those of float models: {how}."
        if len(timed) == len(trials):
            return sentence
        return f"{sentence} The other speeds are {_rough(certificate)}."
    return f"Speeds are {_rough(certificate)}." if any(trial.samples_per_s for trial in trials) else ""


def batch_and_threads(batch: int | None, threads: int | None) -> str:
    """Write a batch size and a number of threads, either of which may be unknown.

    Example:
        >>> batch_and_threads(2048, 2), batch_and_threads(None, 1)
        ('batch 2,048, 2 threads', 'batch size unknown, 1 thread')
    """
    size = "batch size unknown" if batch is None else f"batch {batch:,}"
    count = "number of threads unknown" if threads is None else f"{threads} thread{'s'[: threads != 1]}"
    return f"{size}, {count}"


def _rough(certificate: Certificate) -> str:
    """Describe the speeds that are a by-product of the scores."""
    how = batch_and_threads(certificate.batch_size, certificate.machine.get("threads"))
    return f"rough figures from scoring the tuning rows: {how}"
