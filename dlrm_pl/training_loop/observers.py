"""How many batches can be trained before something observes one: a callback, a logger, validation, a limit."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    DeviceStatsMonitor,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    Timer,
    TQDMProgressBar,
)
from pytorch_lightning.core.hooks import DataHooks
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.profilers import PassThroughProfiler

from dlrm_pl.model.training.engine.hooks import BATCH_HOOKS, function_of, overridden
from dlrm_pl.training_loop.step_log import logs_without_hooks


class SeesRuns(Protocol):
    """A callback whose batch hooks may be called only for the last batch of a run."""

    def steps_until_seen(self, trainer: pl.Trainer) -> float:
        """Return the number of optimizer steps, possibly infinite, after which it must be called again."""
        ...


# Callbacks whose hooks need to be called only every fifth of a second, or that only act at log steps. The same holds
# for all callbacks of this package that do not say otherwise.
_PATIENT_KINDS: tuple[type[pl.Callback], ...] = (
    DeviceStatsMonitor,
    LearningRateMonitor,
    RichProgressBar,
    TQDMProgressBar,
    Timer,
)
_PATIENT = {function_of(kind, name) for kind in _PATIENT_KINDS for name in BATCH_HOOKS}
_DRAWS = {function_of(kind, "on_train_batch_end") for kind in (RichProgressBar, TQDMProgressBar)}
_CHECKPOINT = function_of(ModelCheckpoint, "on_train_batch_end")
_DATA_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Unseen(NamedTuple):
    """Batches that can be trained without calling a hook.

    Attributes:
        batches: number of batches.
        until_log: whether the batch after them is observed only because its step is logged.
    """

    batches: int
    until_log: bool


def batches_unseen(loop: _TrainingEpochLoop) -> Unseen | None:
    """Return how many batches can be trained now without calling a hook; the one after them is observed.

    A batch is observed if it is the last one of the epoch, if validation or the step limit follows it, or if a callback
    acts after it. It is also observed if its step is logged, unless ``StepLog`` knows all the values that are logged.

    Returns:
        None if Lightning's loop must train the next batch: it belongs to the first step of the epoch, training was
        asked to stop, or user code may observe each batch.
    """
    trainer, ready = loop.trainer, loop.batch_progress.current.ready
    left, accumulated = float(trainer.num_training_batches - ready), trainer.accumulate_grad_batches
    stops = trainer.should_stop or trainer.received_sigterm
    steps = [_steps_until(callback, trainer) for callback in trainer.callbacks]
    if ready < accumulated or math.isinf(left) or stops or None in steps or not _only_patient(trainer):
        return None
    done = ready // accumulated
    if loop._should_check_val_epoch() and trainer.val_check_batch not in (None, math.inf):
        trained = loop.total_batch_idx + 1 if trainer.check_val_every_n_epoch is None else ready
        left = min(left, _until_multiple(trained, trainer.val_check_batch))
    if trainer.max_steps != -1:
        left = min(left, accumulated * (done + trainer.max_steps - trainer.global_step) - ready)
    for of_callback in steps:
        left = min(left, accumulated * (done + (of_callback or 0)) - ready)
    logged = math.inf
    if trainer.loggers and trainer.log_every_n_steps and not logs_without_hooks(trainer):
        # All batches of a logged step count, since some callbacks log before a batch.
        until = _until_multiple(loop._batches_that_stepped, trainer.log_every_n_steps)
        logged = accumulated * (done + until - 1) + 1 - ready
    return Unseen(max(0, int(min(left, logged)) - 1), logged < left)


def batches_of_the_bar(trainer: pl.Trainer) -> int:
    """Return the interval, in batches, at which the progress bar is drawn."""
    bar = trainer.progress_bar_callback
    return max(1, bar.refresh_rate) if isinstance(bar, TQDMProgressBar) else 1


def draws_the_bar(callback: pl.Callback) -> bool:
    """Return whether all that a callback does after a batch is draw Lightning's progress bar."""
    return function_of(callback, "on_train_batch_end") in _DRAWS


def _only_patient(trainer: pl.Trainer) -> bool:
    """Whether no hook has to be called for each batch."""
    module, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    return (
        type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
        and not trainer.fast_dev_run  # type: ignore[attr-defined]
        and _keeps(module, pl.LightningModule, (*BATCH_HOOKS, "lr_scheduler_step"))
        and all(_keeps(part, DataHooks, _DATA_HOOKS) for part in (module, data) if part is not None)
        and not any(config.reduce_on_plateau and config.interval == "step" for config in trainer.lr_scheduler_configs)
    )


def _keeps(part: object, base: type, names: tuple[str, ...]) -> bool:
    return all(getattr(type(part), name) is getattr(base, name) for name in names)


def _steps_until(callback: pl.Callback, trainer: pl.Trainer) -> float | None:
    """Steps until a callback has something to do; None: it may look at anything, after each batch."""
    # Not isinstance, which takes a tenth of a millisecond for a protocol.
    if (steps_until_seen := getattr(callback, "steps_until_seen", None)) is not None:
        return float(steps_until_seen(trainer))
    found = math.inf
    for name in overridden(callback, BATCH_HOOKS):
        hook = function_of(callback, name)
        if hook is _CHECKPOINT and isinstance(callback, ModelCheckpoint):
            every = callback._every_n_train_steps
            found = min(found, _until_multiple(trainer.global_step, every) if every > 0 else math.inf)
        elif hook not in _PATIENT and not str(getattr(hook, "__module__", "")).startswith("dlrm_pl."):
            return None
    return found


def _until_multiple(done: int, unit: float) -> int:
    """The number, at least 1, that leads from ``done`` to the next multiple of ``unit``."""
    return int(unit - done % unit)
