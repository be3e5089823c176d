"""Callbacks that write down how long each epoch of a training took, for training.py and fit_overhead.py."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.kernels.training import native
from dlrm_pl.kernels.training.native import NativeStep
from dlrm_pl.kernels.training.steps import with_rates


class EpochTimes(pl.Callback):
    """Write seconds, processor seconds and optimizer steps of each epoch's batches, as JSON.

    It only acts at the start and the end of an epoch, so that nothing observes the steps in between.

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


class NativeTimes(EpochTimes):
    """Also write the time and the processor seconds that this thread spends in calls of native steps.

    Args:
        path: file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._spent = [0.0, 0.0]
        function = native._function

        def timed(library: Any, name: str, arguments: list[Any]) -> Any:
            call = function(library, name, arguments)
            return self._timed(call) if name == "steps" else call

        native._function = timed

    def _timed(self, call: Any) -> Any:
        def run(*arguments: Any) -> int:
            began, cpu = time.perf_counter(), time.thread_time()
            status = int(call(*arguments))
            self._spent[0] += time.perf_counter() - began
            self._spent[1] += time.thread_time() - cpu
            return status

        return run

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._spent[:] = [0.0, 0.0]
        self._thread = time.thread_time()
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it."""
        thread = time.thread_time() - self._thread
        super().on_train_epoch_end(trainer, pl_module)
        names = ("native_seconds", "native_processor_seconds", "thread_processor_seconds")
        self._found[-1] |= dict(zip(names, (*self._spent, thread), strict=True))
        self._path.write_text(json.dumps(self._found))


class BareTimes(EpochTimes):
    """Also write the time of as many bare steps, which follow each epoch in the same process.

    They are calls of the module's own native step, one for each batch of training rows in memory. There are as many
    different batches as the epoch has, up to 2,000, since rows that an earlier batch has read would be in the caches.
    Their learning rate is 0, so they do not change the training.

    Args:
        path: file.
    """

    _MOST_BATCHES = 2000

    def __init__(self, path: str) -> None:
        super().__init__(path)
        steps = NativeStep.steps

        def kept(native_step: NativeStep, batches: Any, options: Any, **rest: Any) -> Any:
            self._native, self._options = native_step, options[-1]
            return steps(native_step, batches, options, **rest)

        NativeStep.steps = kept  # type: ignore[method-assign]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, and make the bare steps."""
        super().on_train_epoch_end(trainer, pl_module)
        native_step, (options,) = self._native, with_rates(self._options, [(0.0, 0.0)], 1)
        folder, size = trainer.datamodule.folder, trainer.datamodule.batch_size  # type: ignore[attr-defined]
        steps, rows = int(self._found[-1]["steps"]), ClickDataset.of_split(folder, "train")
        count = min(steps, self._MOST_BATCHES, len(rows) // size)
        batches = [rows[number * size : (number + 1) * size] for number in range(count)]
        packed = [native_step.packed(one.dense, one.indices, one.offsets, one.known_labels) for one in batches]
        began = time.perf_counter()
        for number in range(steps):
            native_step.steps([packed[number % count]], [options])
        self._found[-1]["bare_seconds"] = time.perf_counter() - began
        self._path.write_text(json.dumps(self._found))
