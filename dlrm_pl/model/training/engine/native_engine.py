"""Native training step of a module: updates its weights and its optimizer's state in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.batch_group import BatchGroup
from dlrm_pl.errors import DLRMError, LookupIndexError, ShapeError
from dlrm_pl.kernels.training.native import NativeStep
from dlrm_pl.kernels.training.steps import StepFailure, StepOptions, with_rates
from dlrm_pl.kernels.training.weights import TrainedLayer, TrainedTable
from dlrm_pl.model.cross_net import CrossNet
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.engine.hooks import BATCH_HOOKS, is_of_the_user, overridden
from dlrm_pl.model.training.engine.live_parameters import LiveParameters
from dlrm_pl.model.training.engine.obstacles import native_precision
from dlrm_pl.model.training.losses import Loss, click_loss
from dlrm_pl.model.training.optimizers.native import count_steps, rates_of, rules_of, state_of
from dlrm_pl.model.training.safeguards.bad_batches import empty_batch, place
from dlrm_pl.model.training.safeguards.divergence import largest_loss


class NativeEngine:
    """Trains a model batch by batch in native code, as its Trainer requests.

    Args:
        model: network to train.
        loss: loss of a batch.
        loss_weights: weights of a non-click and of a click.
        trainer: Trainer whose optimizer, precision and model native code supports.
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
        self._largest_loss = largest_loss(loss, loss_weights)
        self._counts_steps = rules.dense in ("adam", "lamb")  # Their step numbers matter.
        parts = [name for name in ("bottom_mlp", "cross_net", "top_mlp") if getattr(model, name) is not None]
        self._tables_now = LiveParameters(model, "embedding_bags")
        self._dense_now = LiveParameters(model, *parts)
        # User hooks run around each batch, and may change weights.
        self._users_hooks = any(
            is_of_the_user(type(callback)) and overridden(callback, BATCH_HOOKS)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        ) or any(is_of_the_user(getattr(trainer.lightning_module, name)) for name in BATCH_HOOKS)
        self._native: NativeStep | None = None
        self._places: list[int] = []  # Addresses of the weights and of the optimizer's state.
        self._versions: list[int] = []  # Versions of the MLPs' weights, which native code keeps reordered.
        self._seen = (-1, -1)  # Epochs and validation batches before the last step.
        self._accumulated = False
        self._uncounted = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Become None in copies of the module, which have other weights."""
        return type(None), ()

    def step(self, batch: ClickBatch, batch_idx: int) -> float:
        """Train on a batch between hooks, which may have changed the weights; return the mean loss.

        Args:
            batch: batch with labels.
            batch_idx: index of the batch in its epoch.

        Returns:
            Mean loss; if it is not finite, the batch was not trained on.

        Raises:
            LookupIndexError: an index is outside its table.
        """
        self.look()
        try:
            return self.run([batch], batch_idx, ends=not self._trainer.fit_loop._should_accumulate())[0]
        finally:
            self.count()

    def look(self) -> None:
        """Detect tensors that were replaced or changed since the last step."""
        places, versions = self._find()
        if self._native is None or places != self._places:
            self._native = self._made()
            self._accumulated = False
        elif versions != self._versions or self._others_were_here():
            self._native.refresh()
        self._places, self._versions = places, versions

    def run(
        self,
        batches: Sequence[ClickBatch],
        batch_idx: int,
        learning_rates: Sequence[Sequence[float]] | None = None,
        *,
        ends: bool = False,
    ) -> list[float]:
        """Train on consecutive batches, if nothing has changed the weights since ``look``.

        Args:
            batches: batches with labels.
            batch_idx: index of the first batch in its epoch; the Trainer has it too, and errors name it.
            learning_rates: learning rates of each optimizer step by parameter group; None: the current ones.
            ends: whether to update the weights after the last batch, even if fewer batches were accumulated than set.

        Returns:
            Mean losses of the batches, up to the last one or up to one that fails; a later call that begins with the
            failed batch says why. If the last loss is not finite, its batch was not trained on; if it shows that
            training has diverged, the batches after it were not.

        Raises:
            LookupIndexError: an index of the first batch is outside its table.
            ShapeError: the first batch has no samples, or does not fit the model.
        """
        assert self._native is not None
        packed, tensors = self._packed(batches)
        count = len(batches) if isinstance(tensors, BatchGroup) else len(packed)
        options, updates = self._options(count, batch_idx, learning_rates, ends)
        losses, failure = self._native.steps(packed, options, largest_loss=self._largest_loss)
        del tensors  # Native code used their addresses until here.
        if losses:
            self._accumulated = not updates[len(losses) - 1]
            self._uncounted += sum(updates[: len(losses)])
        elif failure is not None and failure.kind == "not finite":
            return [self._torchs_loss(batches[0])]
        elif failure is not None:
            raise self._error(failure)
        return losses

    def _packed(self, batches: Sequence[ClickBatch]) -> tuple[list[bytes], Sequence[Any]]:
        """Batches in native form, up to the first that native code cannot take, and tensors to keep alive meanwhile."""
        assert self._native is not None
        if isinstance(batches, BatchGroup) and (together := self._native.packed_group(batches)) is not None:
            return [together], batches
        packed, tensors = [], []
        for batch in batches:
            try:
                inputs = self._inputs(batch)
                packed.append(self._native.packed(*inputs))
            except DLRMError:
                if not packed:
                    raise
                break
            tensors.append(inputs)
        return packed, tensors

    def _inputs(self, batch: ClickBatch) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        dense, indices, offsets, labels = batch
        if labels is None:
            labels = batch.known_labels  # Raises an error.
        if not labels.numel():
            raise empty_batch(self._trainer)
        return (
            dense if dense.is_contiguous() else dense.contiguous(),
            _int64(indices),
            None if offsets is None else _int64(offsets),
            labels if labels.dtype == torch.float32 and labels.is_contiguous() else labels.float().contiguous(),
        )

    def _options(
        self, count: int, batch_idx: int, learning_rates: Sequence[Sequence[float]] | None, ends: bool
    ) -> tuple[list[bytes], list[bool]]:
        """The options of the batches' steps, and which steps update the weights."""
        trainer = self._trainer
        batches, limit = trainer.accumulate_grad_batches, trainer.gradient_clip_val or 0.0
        by_value = trainer.gradient_clip_algorithm == "value"
        if batches == 1 and not self._accumulated and not self._counts_steps:
            # Only the learning rates differ between the steps.
            rates = rates_of(self.optimizer, 0, None if learning_rates is None else learning_rates[0])
            limits = (0.0, limit) if by_value else (limit, 0.0)
            one = StepOptions(*rates, 1.0, True, True, *limits).packed()
            return with_rates(one, learning_rates or (), count), [True] * count
        packed: list[bytes] = []
        updates: list[bool] = []
        done, known = 0, None
        for number in range(batch_idx, batch_idx + count):
            first = number % batches == 0 or not (updates or self._accumulated)
            last = (number + 1) % batches == 0 or (ends and number == batch_idx + count - 1)
            of_step = None if learning_rates is None else learning_rates[min(done, len(learning_rates) - 1)]
            # Most often, the options are those of the previous step.
            if known != (same := (first, last, of_step)) or self._counts_steps:
                rates = rates_of(self.optimizer, self._uncounted + done, of_step)
                limits = (0.0, limit) if by_value else (limit, 0.0)
                one, known = StepOptions(*rates, 1 / batches, first, last, *limits).packed(), same
            packed.append(one)
            updates.append(last)
            done += last
        return packed, updates

    def count(self) -> None:
        """Add the steps since the last call to the optimizer's own count, if it has one."""
        if self._uncounted:
            count_steps(self.optimizer, self._uncounted)
            self._uncounted = 0

    def _find(self) -> tuple[list[int], list[int]]:
        """Addresses of all weights and states, and versions of the weights that native code holds copies of."""
        dense, tables = self._dense_now.now(), self._tables_now.now()
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
            cross=self._cross_layers(),
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
        return [self._layer(layer) for layer in mlp.children() if isinstance(layer, nn.Linear)]

    def _cross_layers(self) -> list[tuple[TrainedLayer, TrainedLayer]]:
        if (net := self._model.cross_net) is None:
            return []
        return [(self._layer(layer.v), self._layer(layer.w)) for layer in cast(CrossNet, net).layers]

    def _layer(self, layer: nn.Linear) -> TrainedLayer:
        bias = layer.bias
        return TrainedLayer(
            layer.weight.detach(),
            None if bias is None else bias.detach(),
            self._state(layer.weight),
            () if bias is None else self._state(bias),
        )

    def _state(self, parameter: Tensor) -> tuple[Tensor, ...]:
        return state_of(self.optimizer, parameter, self._rules.dense)

    def _torchs_loss(self, batch: ClickBatch) -> float:
        """Compute with torch whether a non-finite loss is infinite or NaN, which native code does not tell."""
        with torch.no_grad():
            loss = float(click_loss(self._model(batch), batch.known_labels, self._loss, self._loss_weights))
        return math.nan if math.isfinite(loss) else loss

    def _error(self, failure: StepFailure) -> Exception:
        where = f"Sample {failure.sample} of {place(self._trainer)}"
        if failure.kind == "offset":
            return ShapeError(f"{where}: the offsets of table {failure.table} decrease, at {failure.value}.")
        rows = self._model.architecture.table_sizes[failure.table]
        return LookupIndexError(
            f"{where}: table {failure.table} has {rows:,} rows, but the index is {failure.value}. The rows come from "
            "another dataset than the model, or are corrupt. Nothing of this batch was trained on."
        )


def _int64(numbers: Tensor) -> Tensor:
    """Return numbers in the form that native code reads; other loaders than ours may give another form."""
    numbers = numbers if numbers.dtype == torch.int64 else numbers.long()
    return numbers if numbers.dim() == 0 or numbers.shape[-1] < 2 or numbers.stride(-1) == 1 else numbers.contiguous()
