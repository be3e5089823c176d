"""ThroughputMonitor: training speed, time spent waiting for data, and time left."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar, Timer, TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only

from dlrm_pl.callbacks.training_clock import Reading, TrainingClock, samples_per_s
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError

log = logging.getLogger(__name__)


class ThroughputMonitor(pl.Callback):
    """Report samples per second, the share of time that training waits for data, and the time left.

    ``fit`` has this callback by default. A line is written to the log at the end of each epoch and every ``every_s``
    seconds, on rank zero, above the progress bar if one is drawn on a terminal. Loggers get ``samples_per_s`` and, with
    the loaders of ``DLRMDataModule``, ``data_wait_share`` at each logged step. The time for validation is not counted,
    but the time for checkpoints is. The callback also works with a plain ``pl.Trainer``. Other loaders do not report
    how many samples they have handed out; with them, batches are counted at the mean size of those that the callback
    sees.

    Args:
        every_s: seconds between two lines within an epoch; 0 writes no lines, not even at the end of epochs.

    Raises:
        ConfigurationError: ``every_s`` is negative or not a number.

    Example:
        >>> import dlrm_pl
        >>> monitor = dlrm_pl.ThroughputMonitor(every_s=60)
        >>> trainer = dlrm_pl.DLRMTrainer(callbacks=[monitor], logger=False)  # Then trainer.fit(...).
    """

    def __init__(self, every_s: float = 30.0) -> None:
        check_arguments(ThroughputMonitor.__init__, locals())
        if not 0 <= every_s < math.inf:
            raise ConfigurationError(f"ThroughputMonitor: every_s={every_s} must be a finite number, 0 or more.")
        super().__init__()
        self._every_s = every_s
        self._clock = TrainingClock()
        self._started = self._logged = self._shown = Reading()

    def __repr__(self) -> str:
        """The seconds between two lines."""
        return f"ThroughputMonitor(every_s={self._every_s:g})"

    def steps_until_seen(self, trainer: pl.Trainer) -> float:
        """Return the number of steps after which the hooks must be called: never."""
        return math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting; a run that is resumed within an epoch does not start the epoch again."""
        self._clock.start()
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the count."""
        self._begin(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report if a step is logged or a line is due."""
        self._clock.see(batch)
        now = self._clock.read(trainer)
        if trainer._logger_connector.should_update_logs:
            values = self._values(trainer, now)
            for logger in trainer.loggers if values else ():
                logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
        if self._every_s and now.seconds - self._shown.seconds >= self._every_s:
            batches = trainer.num_training_batches
            of = f" of {batches:,}" if math.isfinite(batches) else ""
            self._show(trainer, f"{_epoch(trainer)}, batch {batch_idx + 1:,}{of}", self._shown, now)
            self._shown = now

    def values_to_log(self, trainer: pl.Trainer) -> dict[str, float]:
        """Return the speed and waiting share since the last call; nothing if no samples were trained on."""
        return self._values(trainer, self._clock.read(trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report on the epoch."""
        now = self._clock.read(trainer)
        samples = (now.samples - self._started.samples) * trainer.world_size
        if self._every_s and samples:
            took = format_seconds(now.seconds - self._started.seconds)
            self._show(trainer, f"{_epoch(trainer)}, {samples:,} samples in {took}", self._started, now, ended=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._clock.stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock."""
        self._clock.go_on()

    def _begin(self, trainer: pl.Trainer) -> None:
        self._started = self._logged = self._shown = self._clock.read(trainer)

    def _values(self, trainer: pl.Trainer, now: Reading) -> dict[str, float]:
        before, self._logged = self._logged, now
        if now.seconds <= before.seconds or now.samples <= before.samples:
            return {}
        share = _wait_share(before, now)
        speed = {"samples_per_s": samples_per_s(trainer, before, now)}
        return speed if share is None else speed | {"data_wait_share": share}

    @rank_zero_only
    def _show(self, trainer: pl.Trainer, where: str, before: Reading, now: Reading, *, ended: bool = False) -> None:
        parts = [f"{samples_per_s(trainer, before, now):,.0f} samples/s"]
        if (share := _wait_share(before, now)) is not None:
            parts.append(f"{share:.1%} of the time waiting for data".replace("%", " %"))
        left = _seconds_left(trainer, before, now, ended)
        if left > 0:
            parts.append(f"about {format_seconds(left)} of training left")
        _write(trainer, f"{where}: {', '.join(parts)}")


def add_throughput_monitor(trainer: pl.Trainer) -> None:
    """Give a Trainer a monitor, unless the user gave it one."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if not trainer.fast_dev_run and not any(isinstance(one, ThroughputMonitor) for one in callbacks):  # type: ignore[attr-defined]
        callbacks.insert(0, ThroughputMonitor())


def format_seconds(seconds: float) -> str:
    """Format a time in at most two units: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``5 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min"


def _write(trainer: pl.Trainer, line: str) -> None:
    """Write a line to the log, or above a progress bar, which the log's line would tear apart."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, RichProgressBar | TQDMProgressBar) and bar.is_enabled and sys.stdout.isatty():
        bar.print(line)
    else:
        log.info("%s", line)


def _wait_share(before: Reading, now: Reading) -> float | None:
    if before.waited_s is None or now.waited_s is None:
        return None
    return min(1.0, (now.waited_s - before.waited_s) / max(now.seconds - before.seconds, 1e-9))


def _epoch(trainer: pl.Trainer) -> str:
    limit = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + (f" of {limit:,}" if limit is not None and limit > 0 else "")


def _seconds_left(trainer: pl.Trainer, before: Reading, now: Reading, ended: bool) -> float:
    """Time until training reaches its first limit at the current speed; 0 if there is no limit."""
    left = [
        remaining
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (remaining := callback.time_remaining()) is not None
    ]
    a_batch = (now.seconds - before.seconds) / max(now.batches - before.batches, 1)
    if trainer.max_steps != -1:
        left.append((trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches * a_batch)
    batches = trainer.num_training_batches
    if trainer.max_epochs is not None and trainer.max_epochs != -1 and math.isfinite(batches):
        done = 0 if ended else trainer.fit_loop.batch_idx + 1
        epochs = trainer.max_epochs - trainer.current_epoch - (1 if ended else 0)
        left.append((epochs * batches - done) * a_batch)
    return max(0.0, min(left, default=0.0))
