"""Log of steps that are trained without hooks, as Lightning writes it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import DeviceStatsMonitor, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from dlrm_pl.model.training.engine.hooks import BATCH_HOOKS, function_of
from dlrm_pl.model.training.trained_module import TrainedModule

LOSS_KEY = "training_step.train_loss"
"""Lightning's name for the loss that ``training_step`` logs."""

_CODES = {torch.float32: "f", torch.float64: "d"}
"""Type codes of the module ``array``."""

_READS_AT_LOGS = {
    function_of(kind, name) for kind in (DeviceStatsMonitor, LearningRateMonitor) for name in BATCH_HOOKS
} - {function_of(pl.Callback, name) for name in BATCH_HOOKS}


class LogsRuns(Protocol):
    """A callback that logs values at logged steps, and can do so after several steps without hooks."""

    def values_to_log(self, trainer: pl.Trainer) -> Mapping[str, float]:
        """Return the values for the steps since something was last logged; none if there are no steps."""
        ...


class StepLog:
    """Passes loggers the rows of steps for which no hook was called, and has them written together.

    A logger that writes a file may take longer to do so than a step of a small model takes. So it gets each row after
    its step, but is asked to write only after a run of steps.

    Args:
        loop: loop over an epoch's batches.
    """

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        trainer = loop.trainer
        self._loop, self._accumulated = loop, trainer.accumulate_grad_batches
        found = (getattr(callback, "values_to_log", None) for callback in trainer.callbacks)
        self._others = [values_to_log for values_to_log in found if values_to_log is not None]
        self._has_more = False

    def add(self, losses: Sequence[float], first: int, stepped: int) -> None:
        """Log those of some steps that ``log_every_n_steps`` selects.

        Args:
            losses: mean losses of consecutive batches whose steps were counted.
            first: number of the first batch in its epoch, from 0.
            stepped: number of steps that were made before the first of these batches ended.
        """
        trainer = self._loop.trainer
        every = trainer.log_every_n_steps
        if not (every and trainer.loggers):
            return
        step = stepped // every * every + every - 1
        place = self._accumulated * (step - stepped + 1) - first % self._accumulated - 1
        if place >= len(losses):
            return
        values = _kept(losses[place :: self._accumulated * every])
        steps = range(step, step + len(values) * every, every)
        others = [found for values_to_log in self._others if (found := values_to_log(trainer))]
        with _written_later(trainer.loggers):
            for at, value in zip(steps, values, strict=True):
                for row in (*others, {"train_loss": value, "epoch": trainer.current_epoch}):
                    for logger in trainer.loggers:
                        logger.log_metrics(dict(row), step=at)
        self._has_more = True

    def write(self) -> None:
        """Make the loggers write what was logged since the last call."""
        if self._has_more:
            self._has_more = False
            for logger in self._loop.trainer.loggers:
                logger.save()


def _kept(losses: Sequence[float]) -> list[float]:
    """Round losses as the tensors do in which Lightning keeps them until they are logged."""
    # torch's own conversion to a tensor and back takes a tenth of a millisecond after a long call of native code.
    code = _CODES.get(torch.get_default_dtype())
    return torch.tensor(losses).tolist() if code is None else array(code, losses).tolist()


@contextmanager
def _written_later(loggers: Iterable[Logger]) -> Iterator[None]:
    """Keep a ``CSVLogger`` from writing its file within ``log_metrics``, as it does for some steps."""
    held = [logger for logger in loggers if type(logger) is CSVLogger]
    for logger in held:
        logger.save = _nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        for logger in held:
            del logger.save  # Its class's method remains.


def _nothing() -> None:
    pass


def logs_its_loss_alone(module: pl.LightningModule) -> bool:
    """Return whether a module's ``log_loss`` is that of ``TrainedModule``, not a user's."""
    return isinstance(module, TrainedModule) and type(module).log_loss is TrainedModule.log_loss


def logs_without_hooks(trainer: pl.Trainer) -> bool:
    """Return whether a logged step needs no hook, because only values that ``StepLog`` knows are logged."""
    results = trainer._results
    if results is None or not logs_its_loss_alone(trainer.lightning_module):
        return False
    of_steps = [(key, result.meta.logger) for key, result in results.items() if result.meta.on_step]
    return of_steps == [(LOSS_KEY, True)] and not any(
        function_of(callback, name) in _READS_AT_LOGS
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        for name in BATCH_HOOKS
    )
