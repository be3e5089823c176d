"""Training of a click model: loss, gradients, optimizer and ranks, for Lightning's Trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import LookupIndexError
from dlrm_pl.model.training.engine.choice import Choice, Engine, choose
from dlrm_pl.model.training.engine.native_engine import NativeEngine
from dlrm_pl.model.training.gradients.clipping import clip_gradients
from dlrm_pl.model.training.gradients.data_parallel import average, average_dense, broadcast, is_distributed
from dlrm_pl.model.training.losses import Loss, click_loss
from dlrm_pl.model.training.optimizers.make import make_optimizer
from dlrm_pl.model.training.optimizers.schedule import WarmupDecay
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from dlrm_pl.model.training.optimizers.step_schedule import StepSchedule
from dlrm_pl.model.training.resuming.changed_rates import numbers_of
from dlrm_pl.model.training.resuming.run_settings import accumulation_scheduler
from dlrm_pl.model.training.safeguards.bad_batches import empty_batch, index_outside, place
from dlrm_pl.model.training.safeguards.divergence import divergence, largest_loss
from dlrm_pl.model.training.safeguards.ended_decay import warn_of_ended_decay
from dlrm_pl.model.training.scored_module import ScoredModule
from dlrm_pl.model.training.sharding import ShardedBags

log = logging.getLogger(__name__)

# Names of the schedule's hyperparameters, and what WarmupDecay calls them.
_SCHEDULE = {
    "learning_rate": "base",
    "lr_schedule": "kind",
    "lr_num_warmup_steps": "warmup_steps",
    "lr_decay_start_step": "decay_start_step",
    "lr_num_decay_steps": "decay_steps",
    "lr_decay_power": "power",
    "lr_end_factor": "end_factor",
}
# Settings that checkpoints of earlier versions do not state, since there was no choice then.
_ALWAYS_BEFORE = {
    field.name: field.default for field in fields(OptimizerSettings) if field.name not in ("optimizer", "learning_rate")
} | {"lr_schedule": "upstream", "lr_decay_power": 2.0, "lr_end_factor": 0.0, "table_format": "fp32"}
# Hyperparameters that say how a model is trained; the others say what the model is.
_TRAINING = ("loss", "loss_weights", "optimizer", *_SCHEDULE, *_ALWAYS_BEFORE)


class TrainedModule(ScoredModule):
    """The part of ``DLRMModule`` that trains.

    Attributes:
        engine: the requested training code: auto, native or torch.
        optimizers_chosen: optimizers that train the model, and their hyperparameters.
        rounded_forward: model that ``QuantizationAwareTraining`` trains and validates in place of the float model.
        loss_listener: called with the mean losses of consecutive batches, and with the optimizer steps, counted from 1,
            that the first and the last batch belong to.
    """

    rounded_forward: Callable[[ClickBatch], Tensor] | None
    loss_listener: Callable[[list[float], int, int], None] | None = None

    def _add_training(self, engine: Engine) -> None:
        """Take over the saved hyperparameters, and the engine, which is not one of them."""
        self.engine = engine
        self._same_on_all_ranks = False
        self._choice: Choice | None = None
        self._chosen_for: torch.optim.Optimizer | None = None
        self._engine: NativeEngine | None = None
        self._apply_hyperparameters()

    def training_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        """Compute the loss of a batch; with the native engine, do the whole step including the update.

        Raises:
            NonFiniteError: the loss is NaN, infinite, or so large that training has diverged.
            LookupIndexError: an index is outside its table.
            ShapeError: the batch has no samples, or does not fit the model.
        """
        engine = self.native_engine()
        loss = self._loss_of(batch) if engine is None else torch.tensor(engine.step(batch, batch_idx))
        self.model.watch.glance()
        self.check_loss(float(loss.detach()), batch)
        self.log_loss(loss, batch.num_samples)
        return loss

    def log_loss(self, loss: Tensor, samples: int) -> None:
        """Log the mean loss of a batch with a given number of samples, as ``training_step`` does."""
        self.log("train_loss", loss, prog_bar=True, batch_size=samples)

    def _loss_of(self, batch: ClickBatch) -> Tensor:
        labels = batch.known_labels
        is_sharded = isinstance(self.model.embedding_bags, ShardedBags)
        if not len(labels) and not is_sharded:  # Sharded tables report it on all processes.
            raise empty_batch(self.trainer)
        try:
            logits = self(batch)
        except (IndexError, RuntimeError) as error:  # From an embedding or an embedding bag, respectively.
            if is_sharded and isinstance(error, LookupIndexError):
                raise LookupIndexError(
                    f"In {place(self.trainer)}, {error} Nothing of this batch was trained on."
                ) from None
            if wrong := index_outside(self.trainer, self.model, batch):
                raise wrong from error
            raise
        return click_loss(logits, labels, self._loss, self._loss_weights)

    def has_diverged(self, loss: float) -> bool:
        """Return whether the mean loss of a batch is NaN, infinite, or so large that training has diverged."""
        return not loss <= largest_loss(self._loss, self._loss_weights)  # True for NaN, which is not <= anything.

    def check_loss(self, loss: float, batch: ClickBatch) -> None:
        """Pass the mean loss of a batch to the listener, and check it.

        Raises:
            NonFiniteError: the loss is NaN, infinite, or so large that training has diverged.
        """
        error = None
        if self.loss_listener is not None:
            self.loss_listener([loss], self.global_step + 1, self.global_step + 1)
        if self.has_diverged(loss):
            rate = self._schedule.rate(self.global_step + 1)
            error = divergence(self.model, batch, loss, step=self.global_step, rate=rate)
        if isinstance(bags := self.model.embedding_bags, ShardedBags):
            bags.check_all(error)
        elif error is not None:
            raise error

    @property
    def engine_name(self) -> Literal["native", "torch"] | None:
        """Name of the code that trains; None before training."""
        return None if self._choice is None else self._choice.engine

    def native_engine(self) -> NativeEngine | None:
        """Return the native engine of the current training run; None if torch trains, or nothing is trained."""
        optimizers = self.trainer.optimizers if self._trainer is not None else []
        if len(optimizers) != 1 or self.trainer.fit_loop._skip_backward:
            return None
        if self._chosen_for is not optimizers[0]:  # If a subclass overrides on_fit_start.
            self._choose_engine()
        return self._engine

    def _choose_engine(self) -> None:
        """Choose the code that trains, once there is an optimizer, and log the choice and the reason."""
        trainer = self.trainer
        self._engine = None
        self._chosen_for = trainer.optimizers[0]
        self._choice = choose(self.engine, self, self.model, trainer)
        if self._choice.engine == "native":
            self._engine = NativeEngine(self.model, self._loss, self._loss_weights, trainer)
        if trainer.is_global_zero:
            log.info("%s", self._choice)

    def teardown(self, stage: str) -> None:
        """Release the memory of the engine after training."""
        self._engine = self._chosen_for = None

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Names of weights that Lightning and DistributedDataParallel do not synchronize between ranks.

        In training, these are the tables, since gradients/data_parallel.py synchronizes them. Otherwise, the first
        rank's weights would be sent to the others. That is skipped if every rank already has them, since it would copy
        each page of a memory-mapped file.
        """
        names = [name for name, _ in self.named_parameters()]
        if self._trainer is not None and self._trainer.state.fn != TrainerFn.FITTING:
            return names if self._same_on_all_ranks else []
        return [name for name in names if name.startswith("model.embedding_bags.")]

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients of a loss; the native engine has already done that, and the update as well."""
        if self._engine is None:
            super().backward(loss, *args, **kwargs)

    def on_fit_start(self) -> None:
        """Choose the engine, give all ranks the same tables, and drop a quantization that is no longer trained."""
        if self.model.trained_quantization is not None and self.rounded_forward is None:
            log.warning(
                "the checkpoint was trained with quantization rounding, but training continues without it, so "
                "quantize will find new activation ranges. Add QuantizationAwareTraining to trainer.callbacks "
                "to keep the rounding"
            )
            self.model.trained_quantization = None
        self._choose_engine()
        if is_distributed() and not self._same_on_all_ranks:
            for tables in self._tables():
                broadcast(tables)
            self._same_on_all_ranks = True

    def on_train_start(self) -> None:
        """Warn if the learning rate leaves nothing to train for a part of the run."""
        super().on_train_start()
        if accumulation_scheduler(self.trainer) is None:  # Otherwise Lightning's number of steps is not the run's.
            warn_of_ended_decay(self._schedule, self.global_step, self.trainer.estimated_stepping_batches)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the tables' gradients over ranks, after all accumulated batches; update sharded tables."""
        if isinstance(bags := self.model.embedding_bags, ShardedBags):
            bags.finish_step()
            average_dense(list(self.parameters()))
        elif is_distributed():
            for tables in self._tables():
                average(tables)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as the Trainer requests, including the tables' sparse gradients."""
        if gradient_clip_val:
            by: Literal["norm", "value"] = "value" if gradient_clip_algorithm == "value" else "norm"
            clip_gradients(self.parameters(), gradient_clip_val, by)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimizer and its learning-rate schedule, which advances with each optimizer step."""
        if isinstance(bags := self.model.embedding_bags, ShardedBags):
            optimizer = bags.make_optimizer(list(self.parameters()), self.optimizers_chosen)
        else:
            optimizer = make_optimizer(self.model, self.optimizers_chosen)
        self._numbers = numbers_of(optimizer)
        # Lambdas are left out of checkpoints, while a method would add an entry.
        scheduler = StepSchedule(
            optimizer,
            lambda steps_done: self._schedule.factor(steps_done),
            lambda first, last: self._schedule.is_steady(first, last),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _training_hyperparameters(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters of a checkpoint or module that say how it is trained, as plain values."""
        if "optimizer" in saved:  # Written by `fit`, not imported.
            saved = _ALWAYS_BEFORE | dict(saved)
        values = {name: saved[name] for name in _TRAINING if name in saved}
        return {f"model.{name}": list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _apply_hyperparameters(self) -> None:
        hparams = self.hparams
        self._loss: Loss = hparams["loss"]
        self._loss_weights = (hparams["loss_weights"][0], hparams["loss_weights"][1])
        self.optimizers_chosen = OptimizerSettings(
            **{field.name: hparams[field.name] for field in fields(OptimizerSettings)}
            | {"dense_betas": tuple(hparams["dense_betas"])}
        )
        self._schedule = WarmupDecay(**{name: hparams[key] for key, name in _SCHEDULE.items()})

    def _tables(self) -> list[list[torch.nn.Parameter]]:
        """The parameters with sparse gradients (tables, and row weights if any), grouped by width."""
        by_width: dict[int, list[torch.nn.Parameter]] = {}
        for parameter in self.model.embedding_bags.parameters():
            by_width.setdefault(parameter.shape[1], []).append(parameter)
        return list(by_width.values())
