"""TrainingCurves: metrics over the steps of a training run, kept in its checkpoints and drawn when it ends."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from dlrm_pl.callbacks.training_clock import Reading, TrainingClock, samples_per_s
from dlrm_pl.curves.figure import describe_training, training_figures
from dlrm_pl.curves.training import MOST_GROUPS, TrainingRecord
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import CheckpointError, ConfigurationError, NonFiniteError, OutputError
from dlrm_pl.files.destinations import check_file
from dlrm_pl.model.training.trained_module import TrainedModule

log = logging.getLogger(__name__)

FILE_NAME = "training.png"
"""Name of the picture in the folder of a run."""

_SPEED_S = 0.1
"""Minimum time over which a speed is measured."""

_SEEN_EVERY = 8
"""Hooks are called again after the steps so far divided by this: at steps 1 to 16, 18, 20, ..., 90, 101."""

_RATES_EVERY = 128
"""The same divisor for the learning rates, for hooks that are called more often."""


class TrainingCurves(pl.Callback):
    """Record loss, validations, learning rates and speed of a training run, and draw them when it ends.

    The command ``fit`` has this callback by default. The picture has a panel for each quantity over the optimizer
    steps. It is written next to the run's log, or to ``trainer.default_root_dir`` if there is no log, even if training
    is interrupted or fails. The record takes bounded memory, however long training takes, and is saved in every
    checkpoint, so a continued run draws the whole curve. No logger is needed.

    With the loss of ``DLRMModule``, every batch counts, including those that the native engine trains without calling
    hooks.

    Args:
        path: file for the picture, a .png; None: ``training.png`` in the run's folder, with a number if that name is
            taken.
        draw: whether to draw a picture; the record is kept either way.

    Attributes:
        record: the curves recorded so far.
        picture: the file that was written; None until then.

    Raises:
        ConfigurationError: the path does not end in .png.

    Example:
        >>> import dlrm_pl
        >>> curves = dlrm_pl.TrainingCurves("runs/curves.png")
        >>> trainer = dlrm_pl.DLRMTrainer(callbacks=[curves], logger=False)  # Then trainer.fit(...).
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, draw: bool = True) -> None:
        check_arguments(TrainingCurves.__init__, locals())
        super().__init__()
        self._path = None if path is None else Path(path).expanduser()
        if self._path is not None and self._path.suffix != ".png":
            raise ConfigurationError(f"TrainingCurves: path={str(path)!r} must end in .png.")
        self._draw = draw
        self.record = TrainingRecord()
        self.picture: Path | None = None
        self._folder: Path | None = None
        self._is_first = self._is_over = False
        self._clock, self._before = TrainingClock(), Reading()
        self._next_rates = self._next_seen = 0
        self._heard = 0

    def __repr__(self) -> str:
        """The file of the picture, in one line."""
        return f"TrainingCurves({None if self._path is None else str(self._path)!r}, draw={self._draw})"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start over, unless the Trainer continues; check, before training, that the picture can be written.

        Raises:
            OutputError: the path is a folder, or a file that may not be overwritten.
        """
        if stage != "fit":
            return
        if trainer.global_step == 0:
            self.record, self.picture = TrainingRecord(), None
        if self._draws(trainer) and self._path is not None:
            goes_on = self._path == self.picture or trainer.ckpt_path is not None
            check_file(self._path, getattr(trainer, "overwrite", False) or goes_on)

    def state_dict(self) -> dict[str, Any]:
        """Return the record for a checkpoint; nothing before training has started."""
        return {} if self.record.is_empty else self.record.to_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a checkpoint's record; if it is damaged, only the earlier part of the curves is lost."""
        try:
            self.record = TrainingRecord.of_dict(state_dict, "TrainingCurves in the checkpoint")
        except CheckpointError as error:
            log.warning("%s The curves begin where training resumes.", error)
            self.record = TrainingRecord()

    def steps_until_seen(self, trainer: pl.Trainer) -> float:
        """Return the number of steps after which the hooks must be called: rare enough to cost nothing."""
        return max(1, self._next_seen - trainer.global_step) if self._is_first else math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start listening to the batch losses."""
        folder = trainer.log_dir or trainer.default_root_dir  # On all processes: they get it from the first one.
        self._is_first = trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
        self._is_over = False
        if not self._is_first:
            return
        self._folder = Path(folder)
        record, batch_size = self.record, getattr(trainer.datamodule, "batch_size", 0)  # type: ignore[attr-defined]
        record.loss = str(pl_module.hparams.get("loss", ""))
        record.rows_of_step = int(batch_size or 0) * trainer.accumulate_grad_batches * trainer.world_size
        record.threads, record.processes = torch.get_num_threads(), trainer.world_size
        if trainer.global_step:
            record.note_resumed(trainer.global_step)
        groups = [_name_of(group, at) for at, group in enumerate(_groups(trainer))]
        if groups != record.groups:  # Training continues with another optimizer.
            record.groups, record.rates = groups, type(record.rates)()
        self._next_rates = self._next_seen = trainer.global_step
        self._heard = 0
        if isinstance(pl_module, TrainedModule):
            pl_module.loss_listener = self._hear
        self._clock.start()
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a new interval for the speed, since the time between epochs is not training."""
        self._begin(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the values that are due."""
        if not self._is_first:
            return
        self._clock.see(batch)
        step = trainer.global_step
        self.record.step = step
        if not self._heard:  # A user's own module.
            self._hear_outputs(outputs, step, trainer.accumulate_grad_batches)
        self._heard, self._next_seen = 0, step + max(1, step // _SEEN_EVERY)
        if step >= self._next_rates:
            self._note_rates(trainer, step)
        self._note_speed(trainer, _SPEED_S)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        if self._is_first:
            self._note_speed(trainer, 0.0)
            self._clock.stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the metrics, and restart the clock."""
        if not self._is_first or self._is_over or trainer.sanity_checking:
            return
        self._clock.go_on()
        metrics = trainer.callback_metrics
        if "val_auroc" in metrics and "val_log_loss" in metrics:
            values = [float(metrics[name]) for name in ("val_auroc", "val_log_loss")]
            if all(map(math.isfinite, values)):
                self.record.validations.add(trainer.global_step, values)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the curves of a run that has reached its limits."""
        if self._is_first and not self._is_over:
            self._end(trainer, pl_module)
            self._write("")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Draw the curves of a run that was interrupted or has failed."""
        if not self._is_first or self._is_over:
            return
        self._end(trainer, pl_module)
        interrupted = isinstance(exception, KeyboardInterrupt | SystemExit)
        diverged = isinstance(exception, NonFiniteError)
        how = "been interrupted" if interrupted else "ended with a loss that is not finite" if diverged else "failed"
        self._write(how)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stop listening."""
        self._stop_listening(pl_module)
        self._is_first = False

    def _draws(self, trainer: pl.Trainer) -> bool:
        return self._draw and trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]

    def _hear(self, losses: list[float], first: int, last: int) -> None:
        """Take the losses of batches of some steps."""
        self._heard += len(losses)
        if not math.isfinite(sum(losses)):
            if self.record.bad_step is None:
                self.record.bad_step = last
            losses = [loss for loss in losses if math.isfinite(loss)]
        self.record.losses.extend(losses, first, last)

    def _hear_outputs(self, outputs: Any, step: int, accumulated: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor) and loss.numel() == 1:
            self._hear([float(loss.detach()) * accumulated], step, step)

    def _begin(self, trainer: pl.Trainer) -> None:
        if self._is_first:
            self._before = self._clock.read(trainer)

    def _note_rates(self, trainer: pl.Trainer, step: int) -> None:
        self._next_rates = step + max(1, step // _RATES_EVERY)
        rates = [float(group["lr"]) for group in _groups(trainer)]
        if rates and all(map(math.isfinite, rates)):
            self.record.rates.add(step, rates)

    def _note_speed(self, trainer: pl.Trainer, least_s: float) -> None:
        now = self._clock.read(trainer)
        seconds = now.seconds - self._before.seconds
        if seconds <= least_s or now.samples <= self._before.samples:
            return
        self.record.speeds.add(samples_per_s(trainer, self._before, now), trainer.global_step, seconds)
        self._before = now

    def _end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the values that have not been recorded yet."""
        self._is_over = True
        self._stop_listening(pl_module)
        step = self.record.step = trainer.global_step
        if not len(self.record.rates) or self.record.rates.steps[-1] < step:
            self._note_rates(trainer, step)
        if not len(self.record.speeds):
            self._note_speed(trainer, 0.0)

    def _stop_listening(self, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, TrainedModule) and pl_module.loss_listener == self._hear:
            pl_module.loss_listener = None

    def _write(self, how: str) -> None:
        """Draw the picture, unless nothing was trained.

        Args:
            how: how the run ended, if it did not reach its limits.
        """
        if not self._draw or self.record.is_empty:
            return
        from dlrm_pl.pages.figures.raster import write_png  # Imported here: matplotlib takes half a second.

        assert self._folder is not None
        path = self._path or self.picture or _free(self._folder)
        title = "/".join(path.absolute().parent.parts[-2:])
        said, words = f"The training has {how}. " if how else "", describe_training(self.record)
        try:
            write_png(path, training_figures(self.record), title=title, note=f"{said}{words}", columns=2)
        except (OSError, OutputError) as error:
            log.warning("%s: the training curves could not be drawn: %s", path, error)
            return
        self.picture = path
        if how:
            log.warning("training curves up to step %s: %s", f"{self.record.step:,}", path)
        else:
            log.info("training curves: %s", path)


def add_training_curves(trainer: pl.Trainer) -> None:
    """Give a Trainer curves, unless the user did; they go before the callbacks that save checkpoints."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if curves_of(trainer) is None:
        callbacks.insert(0, TrainingCurves())


def curves_of(trainer: pl.Trainer) -> TrainingCurves | None:
    """Return the callback that records the curves of a Trainer; None if there is none."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((one for one in callbacks if isinstance(one, TrainingCurves)), None)


def _groups(trainer: pl.Trainer) -> list[dict[str, Any]]:
    """The first parameter groups of all optimizers, at most as many as a record can hold."""
    groups = (group for optimizer in trainer.optimizers for group in optimizer.param_groups)
    return list(islice(groups, MOST_GROUPS))


def _name_of(group: dict[str, Any], place: int) -> str:
    return str(group.get("name", f"group {place + 1}"))


def _free(folder: Path) -> Path:
    """A name that is not taken in the folder: several runs without a log may share the folder."""
    stem, suffix = FILE_NAME.split(".")
    names: Iterable[str] = (f"{stem}-{number}.{suffix}" for number in range(2, 1 << 20))
    return next(path for name in chain([FILE_NAME], names) if not (path := folder / name).exists())
