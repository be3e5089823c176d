"""Quantize the model when training ends: a thin layer between Lightning and ``quantize_module``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.utilities import rank_zero_only
from torch import nn
from torchmetrics import Metric

from dlrm_pl.artifact.refreshing.base import check_base
from dlrm_pl.artifact.store import recognize_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.callbacks.interrupt import QuantizationInterrupted
from dlrm_pl.callbacks.training_curves import curves_of
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.documents.docstrings import describes_arguments_by
from dlrm_pl.files.atomic import check_folder
from dlrm_pl.files.replacement import PlannedOutput
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.sharding import ShardsTables
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.objective import Objective, ObjectiveName
from dlrm_pl.quantization.search.settings import StopAt, TuningSettings, stop_at_or_until
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.workflow.config import QuantizationConfig
from dlrm_pl.workflow.quantize import quantize_module
from dlrm_pl.workflow.quantize_model import check_rows
from dlrm_pl.workflow.trial_scalars import TrialScalars


@describes_arguments_by(TuningSettings, QuantizationConfig)
class QuantizationCallback(pl.Callback):
    """Quantize the model to a certified int8 artifact at the end of ``fit``, or a loaded model with ``quantize``.

    Args:
        recipe: recipe that the search begins with.
        until: earlier name of ``stop_at``.

    Attributes:
        config: all arguments in one frozen object.
        listeners: objects that are notified of each trial; append your own.
        outcome: result of the quantization; None before it.

    Raises:
        ConfigurationError: a value has the wrong type, or two options exclude each other; raised before training.

    Example:
        >>> import dlrm_pl
        >>> callback = dlrm_pl.QuantizationCallback(
        ...     "artifacts/int8", criterion=dlrm_pl.Criterion(relative=0.001), max_trials=20
        ... )
        >>> trainer = dlrm_pl.DLRMTrainer(callbacks=[callback], logger=False)  # Then trainer.fit(...).
        >>> callback.config.tuning.max_trials
        20
    """

    def __init__(
        self,
        output: str | os.PathLike[str] = "artifacts/int8",
        *,
        recipe: RecipeStart = RecipeStart(),  # noqa: B008 (frozen; the default shows in --help)
        criterion: Criterion = Criterion(),  # noqa: B008
        strategy: str = "basic",
        objective: Objective | ObjectiveName = "size",
        space: SpaceSettings = SpaceSettings(),  # noqa: B008
        timeout_s: float = 0.0,
        max_trials: int = 100,
        stop_at: StopAt | None = None,
        seed: int = 9527,
        eval_func: Callable[[nn.Module], float] | None = None,
        metric: Metric | None = None,
        allow_nonfinite: bool = False,
        overwrite: bool = False,
        with_vocabulary: bool = False,
        refresh: str | os.PathLike[str] | None = None,
        until: StopAt | None = None,
    ) -> None:
        super().__init__()
        check_arguments(QuantizationCallback.__init__, locals())
        self.config = QuantizationConfig(
            output=output,  # type: ignore[arg-type]  # Becomes a Path there.
            tuning=TuningSettings(
                recipe=recipe,
                criterion=criterion,
                strategy=strategy,
                objective=objective,
                space=space,
                timeout_s=timeout_s,
                max_trials=max_trials,
                stop_at=stop_at_or_until(stop_at, until),
                seed=seed,
            ),
            eval_func=eval_func,
            metric=metric,
            allow_nonfinite=allow_nonfinite,
            overwrite=overwrite,
            with_vocabulary=with_vocabulary,
            refresh=refresh,  # type: ignore[arg-type]  # Becomes a Path there.
        )
        self.listeners: list[TuningListener] = []
        self.outcome: Outcome | None = None

    def __repr__(self) -> str:
        """The folder of the artifact and the strategy, in one line."""
        return f"QuantizationCallback({str(self.config.output)!r}, strategy={self.config.tuning.strategy!r})"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check, before training, that the artifact can be written and that the search can start."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        config = self._config_of(trainer)
        # The weights are not trained yet, so an earlier artifact cannot be of the same model.
        check_folder(config.output, PlannedOutput("quantize", None, recognize_artifact, config.overwrite))
        criterion = config.tuning.criterion
        if config.scored_by_auroc:
            criterion.check_auroc()
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            check_rows(config, datamodule)
        if isinstance(pl_module, DLRMModule):
            SearchSpace(config.tuning.space, pl_module.model.architecture)
            if config.refresh is not None:
                check_base(config.refresh, pl_module.model.architecture)
            if criterion.worst_slice is not None:
                columns = pl_module.columns or getattr(datamodule, "columns", None)
                criterion.worst_slice.check(pl_module.model.architecture, columns)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Quantize the trained model on rank zero, while the other ranks wait.

        Raises:
            QuantizationInterrupted: ctrl-C was pressed, and the training left a checkpoint.
        """
        try:
            self._quantize_trained(trainer, pl_module)
        except KeyboardInterrupt:
            saved = trainer.checkpoint_callback
            path = getattr(saved, "last_model_path", "") or getattr(saved, "best_model_path", "")
            if not path:
                raise
            raise QuantizationInterrupted(Path(path)) from None

    def _quantize_trained(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            if isinstance(strategy := trainer.strategy, ShardsTables):
                output = self.config.output.absolute()
                with strategy.whole_module(output.with_name(f".{output.name}-float.ckpt")) as module:
                    self.quantize(trainer, module)
            else:
                self.quantize(trainer, pl_module)
        trainer.strategy.barrier("dlrm_pl.quantization")

    @rank_zero_only
    def quantize(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Quantize the module with the Trainer's data module, and set ``outcome``."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RichProgressBar):
                # Two displays cannot share a terminal, and without this the progress bar would end only at teardown.
                callback.teardown(trainer, pl_module, "fit")
        curves = curves_of(trainer)
        self.outcome = quantize_module(
            pl_module,  # type: ignore[arg-type]
            trainer.datamodule,  # type: ignore[attr-defined]
            self._config_of(trainer),
            listeners=[TrialScalars(trainer.loggers), *self.listeners],
            training=None if curves is None else curves.record,
        )

    def _config_of(self, trainer: pl.Trainer) -> QuantizationConfig:
        """Configuration of this run; ``fit(overwrite=True)`` applies to the artifact as well."""
        overwrite = self.config.overwrite or getattr(trainer, "overwrite", False)
        return dataclasses.replace(self.config, overwrite=overwrite)
