"""Train a model with the rounding of its int8 model: a thin layer between Lightning and ``quantization/aware``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.sharding import ShardsTables
from dlrm_pl.model.weighted_bags import WeightedBags
from dlrm_pl.quantization.aware.forward import RoundedForward
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.trained import TrainedQuantization
from dlrm_pl.quantization.recipe import Recipe, RecipeStart

log = logging.getLogger(__name__)


class QuantizationAwareTraining(pl.Callback):
    """Train with the rounding of the int8 model, so that the weights adapt to it (``fit`` only).

    From ``first_step`` on, training and validation compute, in floats, what the int8 model of ``recipe`` computes:
    table rows, weights, activations and dot products are rounded to its values, and gradients pass through the rounding
    unchanged. The activation ranges are those that ``recipe.observer`` finds on the calibration rows; they are updated
    from time to time, and the last ones are saved in the checkpoint. ``quantize`` then starts with this recipe and
    these ranges, without bias correction, and so makes exactly the model that was trained. torch computes the steps in
    float32, whatever ``trainer.precision`` says; they take longer than those of a float model.

    Args:
        recipe: dtypes that the model is trained for; ``bias_correction`` is not used.
        first_step: optimizer step from which values are rounded; until then, the float model is trained.
        observe_every_n_steps: number of optimizer steps after which the activation ranges are updated.

    Raises:
        ConfigurationError: a value has the wrong type or is out of range.

    Example:
        >>> import dlrm_pl
        >>> aware = dlrm_pl.QuantizationAwareTraining(dlrm_pl.RecipeStart(tables="int4"), first_step=5000)
        >>> trainer = dlrm_pl.DLRMTrainer(callbacks=[aware], logger=False)  # Then trainer.fit(...).
        >>> aware
        QuantizationAwareTraining(tables='int4', first_step=5000)
    """

    needs_torch = "trains through torch's autograd"
    """Why the native engine cannot train, after the name of the class."""

    def __init__(
        self,
        recipe: RecipeStart = RecipeStart(),  # noqa: B008 (frozen; the default shows in --help)
        first_step: int = 0,
        observe_every_n_steps: int = 1000,
    ) -> None:
        super().__init__()
        check_arguments(QuantizationAwareTraining.__init__, locals())
        if first_step < 0:
            raise ConfigurationError(f"first_step={first_step} must be 0 or more.")
        if observe_every_n_steps < 1:
            raise ConfigurationError(f"observe_every_n_steps={observe_every_n_steps} must be 1 or more.")
        self.recipe = recipe
        self.first_step = first_step
        self.observe_every_n_steps = observe_every_n_steps
        self._observed_at = -1

    def __repr__(self) -> str:
        """The tables' dtype and the first step, in one line."""
        return f"QuantizationAwareTraining(tables={self.recipe.tables!r}, first_step={self.first_step})"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check, before training, that there is a model to round, and rows to observe activations on."""
        if stage != "fit":
            return
        self._observed_at = -1  # Forgets an earlier run; a checkpoint's value is loaded later.
        if not isinstance(pl_module, DLRMModule):
            raise ConfigurationError(
                f"QuantizationAwareTraining needs a DLRMModule, got {type(pl_module).__name__}. Remove the callback."
            )
        if isinstance(pl_module.model.embedding_bags, WeightedBags):
            raise ConfigurationError(
                "QuantizationAwareTraining rounds the rows of the tables, but not their products with the weights "
                "that weighted_pooling='learned' trains. Train without it, or quantize after training."
            )
        if pl_module.hparams["table_format"] != "fp32":
            raise ConfigurationError(
                "QuantizationAwareTraining rounds the rows of the tables according to its recipe, but "
                "table_format='split' rounds them in another way. Train with table_format='fp32'."
            )
        if isinstance(trainer.strategy, ShardsTables):
            raise ConfigurationError(
                "QuantizationAwareTraining rounds rows of the tables, but with trainer.strategy=sharded no process "
                "has all of them. Train without it, or on one process."
            )
        rows = getattr(trainer.datamodule, "calibration_dataloader", None)  # type: ignore[attr-defined]
        if self._recipe_of(pl_module).has_int8_linears and not callable(rows):
            raise ConfigurationError(
                "QuantizationAwareTraining observes activations on calibration rows, but the data module has no "
                "calibration_dataloader. Use a DLRMDataModule, or add that method to yours (see QuantizationData)."
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue with the rounding of the checkpoint that training resumes from, if it has any.

        Raises:
            ConfigurationError: the checkpoint was trained with another recipe.
        """
        assert isinstance(pl_module, DLRMModule)
        trained = TrainedQuantization.of(pl_module.model)
        if trained is None:
            return
        wanted = self._recipe_of(pl_module)
        if trained.recipe != wanted:
            raise ConfigurationError(
                f"The checkpoint was trained with the recipe {trained.recipe.describe()}, but "
                f"QuantizationAwareTraining has {wanted.describe()}. Give the checkpoint's recipe."
            )
        pl_module.rounded_forward = RoundedForward(pl_module.model, trained)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: ClickBatch, batch_idx: int
    ) -> None:
        """Find the activation ranges again before the steps at which that is due."""
        step = trainer.global_step - self.first_step
        if step < 0 or step % self.observe_every_n_steps or trainer.global_step == self._observed_at:
            return
        self._observed_at = trainer.global_step  # Accumulated batches belong to one step.
        assert isinstance(pl_module, DLRMModule)
        trained = self._observe(trainer, pl_module)
        pl_module.model.trained_quantization = trained.statement()
        pl_module.rounded_forward = RoundedForward(pl_module.model, trained)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the module score with its float model again."""
        _restore(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let the module score with its float model again."""
        _restore(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The step at which ranges were last found."""
        return {"observed_at": self._observed_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the step at which ranges were last found."""
        self._observed_at = state_dict["observed_at"]

    def _recipe_of(self, module: DLRMModule) -> Recipe:
        recipe = Recipe.starting_from(self.recipe, module.architecture)
        # Bias correction shifts the last bias to match the float model's mean probability, but no float model is
        # trained here.
        return Recipe.from_dict(recipe.to_dict() | {"bias_correction": False})

    def _observe(self, trainer: pl.Trainer, module: DLRMModule) -> TrainedQuantization:
        recipe = self._recipe_of(module)
        if not recipe.has_int8_linears:
            return TrainedQuantization(recipe, {})
        module.model.trained_quantization = None  # Otherwise its ranges would be kept.
        rows = trainer.datamodule.calibration_dataloader()  # type: ignore[attr-defined]
        ranges = ActivationRanges(module.model, _Moved(rows, module.device)).observed_by(recipe.observer)
        log.info("step %s: activation ranges found on the calibration rows", f"{trainer.global_step:,}")
        return TrainedQuantization(recipe, ranges)


class _Moved:
    """Batches on the device of the model."""

    def __init__(self, batches: Iterable[ClickBatch], device: torch.device) -> None:
        self._batches, self._device = batches, device

    def __iter__(self) -> Iterator[ClickBatch]:
        for batch in self._batches:
            yield ClickBatch(*(None if part is None else part.to(self._device) for part in batch))  # type: ignore[arg-type]


def _restore(module: pl.LightningModule) -> None:
    if isinstance(module, DLRMModule):
        module.rounded_forward = None
