"""One native-engine batch that callbacks or loggers observe, without Lightning's wrappers around its step."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from torch import Tensor

from dlrm_pl.model.training.engine.hooks import function_of
from dlrm_pl.model.training.engine.native_engine import NativeEngine
from dlrm_pl.model.training.trained_module import TrainedModule
from dlrm_pl.training_loop.counts import Counts
from dlrm_pl.training_loop.fetching import Batches
from dlrm_pl.training_loop.observers import draws_the_bar
from dlrm_pl.training_loop.step_log import LOSS_KEY, logs_its_loss_alone

_STEP = "training_step"


def train_observed(
    loop: _TrainingEpochLoop, fetcher: _DataFetcher, module: TrainedModule, engine: NativeEngine, *, draws: bool = True
) -> None:
    """Do what Lightning's ``advance`` does, if ``batches_unseen`` has found no user code in it.

    It leaves out the closures, transfers and hooks around the step, since the step does its own backward pass and
    update. They take longer than the step of a small model.

    Args:
        loop: loop over an epoch's batches.
        fetcher: fetcher that the batch comes from.
        module: module to train.
        engine: the module's engine, which has checked the weights since other code last ran.
        draws: whether to draw Lightning's progress bar.

    Raises:
        StopIteration: there are no more batches.
    """
    trainer, progress, counts = loop.trainer, loop.batch_progress, Counts(loop)
    connector, optimizer = trainer._logger_connector, loop.automatic_optimization.optim_progress.optimizer
    loop.val_loop.restarting = False
    (batch,) = Batches(fetcher).take(1)
    progress.is_last_batch = fetcher.done
    progress.increment_ready()
    batch_idx = loop.batch_idx
    connector.on_batch_start(batch)
    if _call(trainer, "on_train_batch_start", batch, batch_idx):
        engine.look()
    progress.increment_started()
    updates = not loop._should_accumulate()
    if updates:
        optimizer.step.increment_ready()
    (value,) = engine.run([batch], batch_idx, ends=updates)
    engine.count()  # For checkpoints that callbacks save: they have the optimizer's count.
    module.model.watch.glance()
    module.check_loss(value, batch)
    loss = torch.tensor(value)
    _log(module, loss, batch.num_samples)
    if batch_idx % trainer.accumulate_grad_batches == 0:
        optimizer.zero_grad.increment_ready()
        optimizer.zero_grad.increment_started()
        optimizer.zero_grad.increment_completed()
    if updates:
        optimizer.step.increment_completed()
    progress.increment_processed()
    if not counts.move_schedule(1 if updates else 0):
        loop.update_lr_schedulers("step", update_plateau_schedulers=False)
    if loop._num_ready_batches_reached():
        loop.update_lr_schedulers("epoch", update_plateau_schedulers=False)
    outputs = {"loss": loss / trainer.accumulate_grad_batches}
    _call(trainer, "on_train_batch_end", outputs, batch, batch_idx, draws=draws)
    connector.on_batch_end()
    progress.increment_completed()
    connector.update_train_step_metrics()


def _call(trainer: pl.Trainer, hook: str, *arguments: Any, draws: bool = True) -> bool:
    """Call a hook of the callbacks that implement it; return whether there were any."""
    module = trainer.lightning_module
    before, module._current_fx_name = module._current_fx_name, hook
    called = False
    nothing = getattr(pl.Callback, hook)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if function_of(callback, hook) is not nothing and (draws or not draws_the_bar(callback)):
            getattr(callback, hook)(trainer, module, *arguments)
            called = True
    module._current_fx_name = before
    return called


def _log(module: TrainedModule, loss: Tensor, samples: int) -> None:
    """Log the loss as ``training_step`` does; Lightning has checked the first time how it is logged."""
    results, connector = module.trainer._results, module.trainer._logger_connector
    is_first = results is None or LOSS_KEY not in results or connector.should_reset_tensors(_STEP)
    if results is not None and not is_first and logs_its_loss_alone(module):
        results.update_metrics(LOSS_KEY, loss, samples)
        connector._current_fx = _STEP
        return
    before, module._current_fx_name = module._current_fx_name, _STEP
    module.log_loss(loss, samples)
    module._current_fx_name = before
