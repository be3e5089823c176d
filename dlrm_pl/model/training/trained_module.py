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
from torch.optim.lr_scheduler import LambdaLR

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.training.changed_rates import numbers_of
from dlrm_pl.model.training.divergence import divergence, has_diverged
from dlrm_pl.model.training.gradient_clipping import clip_gradients
from dlrm_pl.model.training.losses import Loss, click_loss
from dlrm_pl.model.training.optimizers.make import make_optimizer
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from dlrm_pl.model.training.schedule import WarmupDecay
from dlrm_pl.model.training.scored_module import ScoredModule
from dlrm_pl.model.training.sparse_gradients import average, broadcast, is_distributed

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
# What checkpoints of earlier versions do not state, since it was not possible to choose another.
_ALWAYS_BEFORE = {
    field.name: field.default for field in fields(OptimizerSettings) if field.name not in ("optimizer", "learning_rate")
} | {"lr_schedule": "upstream", "lr_decay_power": 2.0, "lr_end_factor": 0.0}
# Hyperparameters that say how a model is trained; the others say what it is.
_TRAINING = ("loss", "loss_weights", "optimizer", *_SCHEDULE, *_ALWAYS_BEFORE)


class TrainedModule(ScoredModule):
    """The part of ``DLRMModule`` that trains.

    Attributes:
        optimizers_chosen: which optimizers train the model, and their numbers.
        rounded_forward: what ``QuantizationAwareTraining`` trains and validates in place of the float model.
    """

    rounded_forward: Callable[[ClickBatch], Tensor] | None

    def _add_training(self) -> None:
        """Take over the hyperparameters, which have been saved."""
        self._same_on_all_ranks = False
        self._apply_hyperparameters()

    def training_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        """Compute the loss of a batch.

        Raises:
            NonFiniteError: the loss is NaN, infinite, or so large that the training has diverged.
        """
        loss = click_loss(self(batch), batch.known_labels, self._loss, self._loss_weights)
        self.model.watch.glance()
        if has_diverged(mean := float(loss.detach()), self._loss_weights if self._loss == "wbce" else (1.0, 1.0)):
            raise divergence(
                self.model, batch, mean, step=self.global_step, rate=self._schedule.rate(self.global_step + 1)
            )
        self.log("train_loss", loss, prog_bar=True, batch_size=batch.num_samples)
        return loss

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Names of weights that Lightning and DistributedDataParallel do not synchronize between ranks.

        In training these are the tables, which sparse_gradients.py takes care of. Otherwise the first rank's weights
        would be sent to the others; that is skipped where every rank has them already, since it would copy each page of
        a memory-mapped file.
        """
        names = [name for name, _ in self.named_parameters()]
        if self._trainer is not None and self._trainer.state.fn != TrainerFn.FITTING:
            return names if self._same_on_all_ranks else []
        return [name for name in names if name.startswith("model.embedding_bags.")]

    def on_fit_start(self) -> None:
        """Give all ranks the same tables to start from, and forget a quantization that is not trained any more."""
        if self.model.trained_quantization is not None and self.rounded_forward is None:
            log.warning(
                "the checkpoint was trained with the rounding of a quantization, and training goes on without, so that "
                "quantize will find the ranges of activations anew. Add QuantizationAwareTraining to trainer.callbacks "
                "to keep the rounding"
            )
            self.model.trained_quantization = None
        if is_distributed() and not self._same_on_all_ranks:
            broadcast(self._tables())
            self._same_on_all_ranks = True

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the tables' gradients over ranks, once all accumulated batches are in."""
        if is_distributed():
            average(self._tables())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as the Trainer asks, sparse gradients of tables included."""
        if gradient_clip_val:
            by: Literal["norm", "value"] = "value" if gradient_clip_algorithm == "value" else "norm"
            clip_gradients(self.parameters(), gradient_clip_val, by)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimizer and its learning-rate schedule, which advances with each optimizer step."""
        optimizer = make_optimizer(self.model, self.optimizers_chosen)
        self._numbers = numbers_of(optimizer)
        # A lambda is left out of checkpoints, where a method would add an entry.
        scheduler = LambdaLR(optimizer, lambda steps_done: self._schedule.factor(steps_done))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _training_hyperparameters(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return those hyperparameters of a checkpoint, or of a module, that say how it is trained, as plain values."""
        if "optimizer" in saved:  # Written by `fit`, and not imported.
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

    def _tables(self) -> list[torch.nn.Parameter]:
        return list(self.model.embedding_bags.parameters())
