"""Number of samples trained on, and the time taken."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytorch_lightning as pl

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.loading.read_ahead import Waiting


@dataclass(frozen=True)
class Reading:
    """Batches, samples and time of training up to a moment.

    Attributes:
        seconds: training time, without validation.
        batches: number of batches of this process.
        samples: number of samples of this process.
        waited_s: time spent waiting for data; None if the loader does not report it.
    """

    seconds: float = 0.0
    batches: int = 0
    samples: int = 0
    waited_s: float | None = None


class TrainingClock:
    """Measures time and samples, whether or not every batch is seen.

    The loaders of ``DLRMDataModule`` report how many rows they have handed out. With other loaders, batches are counted
    at the mean size of those that were seen.
    """

    def __init__(self) -> None:
        self._stopped_at: float | None = None
        self._stopped_s = 0.0
        self._seen_samples = self._seen_batches = 0

    def start(self) -> None:
        """Reset the state that an earlier training run has left."""
        self._stopped_at, self._stopped_s = None, 0.0

    def stop(self) -> None:
        """Stop while something other than training runs."""
        self._stopped_at = time.perf_counter()

    def go_on(self) -> None:
        """Continue after ``stop``."""
        if self._stopped_at is not None:
            self._stopped_s += time.perf_counter() - self._stopped_at
            self._stopped_at = None

    def see(self, batch: object) -> None:
        """Note the size of a batch."""
        if isinstance(batch, ClickBatch):
            self._seen_samples += batch.num_samples
            self._seen_batches += 1

    def read(self, trainer: pl.Trainer) -> Reading:
        """Return what was trained on up to now."""
        waiting, seconds = _waiting(trainer), time.perf_counter() - self._stopped_s
        batches = trainer.fit_loop.total_batch_idx + 1
        if waiting is None:
            samples = round(batches * self._seen_samples / max(self._seen_batches, 1))
            return Reading(seconds, batches, samples, None)
        return Reading(seconds, batches, waiting.rows, waiting.seconds)


def samples_per_s(trainer: pl.Trainer, before: Reading, now: Reading) -> float:
    """Return samples per second over all ranks, which get equal shares."""
    return (now.samples - before.samples) * trainer.world_size / max(now.seconds - before.seconds, 1e-9)


def _waiting(trainer: pl.Trainer) -> Waiting | None:
    """The loader's counts, if it is one of ours."""
    waiting = getattr(trainer.train_dataloader, "waiting", None)
    return waiting if isinstance(waiting, Waiting) else None
