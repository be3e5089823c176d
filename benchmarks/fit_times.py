"""A callback that writes down how long each epoch of a training took, for benchmarks/training.py."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytorch_lightning as pl


class EpochTimes(pl.Callback):
    """Write seconds, seconds of the processor and optimizer steps of each epoch's batches, as JSON.

    It looks at the start and the end of an epoch alone, so that nothing observes the steps in between.

    Args:
        path: file.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._found: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began, self._cpu, self._first = time.perf_counter(), time.process_time(), trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it."""
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        steps = trainer.global_step - self._first
        self._found.append({"seconds": seconds, "processor_seconds": cpu, "steps": steps})
        self._path.write_text(json.dumps(self._found))
