"""The native training step of a module: its weights and its optimizer's state, updated in place."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import LookupIndexError, ShapeError
from dlrm_pl.kernels.training.native import NativeStep, StepFailure, TrainedLayer, TrainedTable
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.engine.hooks import BATCH_HOOKS, is_of_the_user, overridden
from dlrm_pl.model.training.engine.obstacles import native_precision
from dlrm_pl.model.training.losses import Loss, click_loss
from dlrm_pl.model.training.optimizers.native import count_steps, rates_of, rules_of, state_of
from dlrm_pl.model.training.safeguards.bad_batches import empty_batch, place


class NativeEngine:
    """Trains a model batch by batch in native code, as its Trainer asks.

    Args:
        model: network that is trained.
        loss: loss of a batch.
        loss_weights: weights of a non-click and of a click.
        trainer: Trainer, for whose optimizer, precision and model there is no obstacle.
    """

    def __init__(
        self,
        model: DLRM,
        loss: Loss,
        loss_weights: tuple[float, float],
        trainer: pl.Trainer,
    ) -> None:
        self.optimizer = trainer.optimizers[0]
        self._model, self._trainer = model, trainer
        rules, precision = rules_of(self.optimizer), native_precision(trainer.precision_plugin)
        assert not isinstance(rules, str)
        assert precision is not None
        self._rules, self._precision = rules, precision
        self._loss, self._loss_weights = loss, loss_weights
        # Hooks of the user's run around each batch, and may change weights.
        self._users_hooks = any(
            is_of_the_user(type(callback)) and overridden(callback, BATCH_HOOKS)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        ) or any(is_of_the_user(getattr(trainer.lightning_module, name)) for name in BATCH_HOOKS)
        self._native: NativeStep | None = None
        self._places: list[int] = []  # Addresses of the weights and of the optimizer's state.
        self._versions: list[int] = []  # Of the MLPs' weights, which native code keeps in another order.
        self._seen = (-1, -1)  # Epochs and batches of validation before the last step.
        self._accumulated = False
        self._uncounted = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Be None in copies of the module, which have other weights."""
        return type(None), ()

    def step(self, batch: ClickBatch, batch_idx: int) -> float:
        """Train on a batch between two hooks, in which the weights may have been changed; return the mean loss.

        Args:
            batch: batch with labels.
            batch_idx: number of the batch in its epoch.

        Returns:
            Mean loss; if it is not finite, nothing was trained.

        Raises:
            LookupIndexError: an index is outside its table.
        """
        self.look()
        try:
            return self.step_unseen(batch, batch_idx)
        finally:
            self.count()

    def look(self) -> None:
        """Take notice of tensors that were replaced or changed since the last step."""
        places, versions = self._find()
        if self._native is None or places != self._places:
            self._native = self._made()
            self._accumulated = False
        elif versions != self._versions or self._others_were_here():
            self._native.refresh()
        self._places, self._versions = places, versions

    def step_unseen(self, batch: ClickBatch, batch_idx: int) -> float:
        """Train on a batch as `step` does, where nothing can have changed the weights since the last one."""
        trainer = self._trainer
        assert self._native is not None
        batches = trainer.accumulate_grad_batches
        last = batches == 1 or not trainer.fit_loop._should_accumulate()
        first = batch_idx % batches == 0 or not self._accumulated
        limit = trainer.gradient_clip_val or 0.0
        by_value = trainer.gradient_clip_algorithm == "value"
        rates, table_rates = rates_of(self.optimizer, self._uncounted)
        dense, indices, offsets, labels = batch
        if labels is None:
            labels = batch.known_labels  # Raises.
        if not len(labels):
            raise empty_batch(trainer)
        found = self._native.step(
            dense if dense.is_contiguous() else dense.contiguous(),
            _int64(indices),
            None if offsets is None else _int64(offsets),
            labels if labels.dtype == torch.float32 and labels.is_contiguous() else labels.float().contiguous(),
            rates,
            table_rates,
            loss_scale=1 / batches,
            first=first,
            last=last,
            largest_norm=0.0 if by_value else limit,
            largest_value=limit if by_value else 0.0,
        )
        if isinstance(found, StepFailure):
            if found.kind == "not finite":
                return self._torchs_loss(batch)
            raise self._error(found)
        self._accumulated = not last
        self._uncounted += last
        return found

    def count(self) -> None:
        """Count the steps since the last time where the optimizer counts them."""
        if self._uncounted:
            count_steps(self.optimizer, self._uncounted)
            self._uncounted = 0

    def _find(self) -> tuple[list[int], list[int]]:
        """Addresses of all weights and states, and versions of the weights that native code has copies of."""
        dense = [*self._model.bottom_mlp.parameters(), *self._model.top_mlp.parameters()]
        tables = list(self._model.embedding_bags.parameters())
        tensors: list[Tensor] = [*tables, *dense]
        for parameters, rule in ((tables, self._rules.tables), (dense, self._rules.dense)):
            tensors += [tensor for parameter in parameters for tensor in state_of(self.optimizer, parameter, rule)]
        return [tensor.data_ptr() for tensor in tensors], [parameter._version for parameter in dense]

    def _others_were_here(self) -> bool:
        """Whether code ran that may change weights through ``.data``, which leaves no trace in their versions."""
        loop = self._trainer.fit_loop
        seen = (loop.epoch_progress.current.ready, loop.epoch_loop.val_loop.batch_progress.total.ready)
        self._seen, before = seen, self._seen
        return seen != before or self._users_hooks

    def _made(self) -> NativeStep:
        model, architecture = self._model, self._model.architecture
        threshold = architecture.loss_threshold
        return NativeStep(
            self._tables(),
            self._layers(model.bottom_mlp),
            self._layers(model.top_mlp),
            precision=self._precision,
            is_dot=architecture.interaction == "dot",
            self_interaction=architecture.self_interaction,
            largest_logit=math.log((1 - threshold) / threshold) if threshold else 0.0,
            loss=self._loss,
            class_weights=self._loss_weights,
            dense_rule=self._rules.dense,
            table_rule=self._rules.tables,
            split_tables=bool(model.embedding_bags.trains_upper_halves),
        )

    def _tables(self) -> list[TrainedTable]:
        rows = list(self._model.embedding_bags.parameters())
        states = [state_of(self.optimizer, table, self._rules.tables) for table in rows]
        return [
            TrainedTable(table.detach(), state[0] if state else None, is_mean)
            for table, state, is_mean in zip(rows, states, self._model.architecture.is_mean, strict=True)
        ]

    def _layers(self, mlp: nn.Module) -> list[TrainedLayer]:
        return [
            TrainedLayer(layer.weight.detach(), layer.bias.detach(), self._state(layer.weight), self._state(layer.bias))
            for layer in mlp.children()
            if isinstance(layer, nn.Linear)
        ]

    def _state(self, parameter: Tensor) -> tuple[Tensor, ...]:
        return state_of(self.optimizer, parameter, self._rules.dense)

    def _torchs_loss(self, batch: ClickBatch) -> float:
        """Say whether a loss that is not finite is infinite or NaN, which native code does not."""
        with torch.no_grad():
            loss = float(click_loss(self._model(batch), batch.known_labels, self._loss, self._loss_weights))
        return math.nan if math.isfinite(loss) else loss

    def _error(self, failure: StepFailure) -> Exception:
        where = f"Sample {failure.sample} of {place(self._trainer)}"
        if failure.kind == "offset":
            return ShapeError(f"{where}: the offsets of table {failure.table} run backwards, at {failure.value}.")
        rows = self._model.architecture.table_sizes[failure.table]
        return LookupIndexError(
            f"{where}: table {failure.table} has {rows:,} rows, but the index is {failure.value}. The rows come from "
            "another dataset than the model, or are corrupt. Nothing of this batch was trained on."
        )


def _int64(numbers: Tensor) -> Tensor:
    """Return numbers as native code reads them, which other loaders than ours may give in another form."""
    numbers = numbers if numbers.dtype == torch.int64 else numbers.long()
    return numbers if numbers.dim() == 0 or numbers.shape[-1] < 2 or numbers.stride(-1) == 1 else numbers.contiguous()
