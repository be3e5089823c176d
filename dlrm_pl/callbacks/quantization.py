"""Quantize the model when training ends, or on demand: thin glue between Lightning and ``build_artifact``."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn
from torchmetrics import Metric

from dlrm_pl.artifact.build import Outcome, build_artifact
from dlrm_pl.artifact.manifest import REPORT_NAME
from dlrm_pl.artifact.store import recognize_artifact
from dlrm_pl.artifact.summary import comparison, drop_line, slice_line, verdict_line
from dlrm_pl.benchmark.latency import InterleavedTimer
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.atomic import check_folder
from dlrm_pl.files.replacement import PlannedOutput
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judging.row_sets import QuantizationData
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.objective import Objective, ObjectiveName
from dlrm_pl.quantization.search.settings import TuningSettings, Until
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.workflow.search_display import SearchDisplay
from dlrm_pl.workflow.trial_scalars import TrialScalars

log = logging.getLogger(__name__)


class QuantizationCallback(pl.Callback):
    """Insert stubs, fuse, calibrate, convert and tune; after fit by itself, after load through ``quantize``.

    Args:
        output: the artifact folder to write.
        recipe: where the search for a recipe begins.
        criterion: how much AUROC may be lost, and the guards.
        strategy: which recipe is tried next, by name.
        objective: what is made small among accepted models: ``size``, ``latency``, or weights of both. Latency is timed
            in turn with fp32 and compiled bf16, and a model slower than the faster of them is not accepted.
        space: what the search may choose from.
        timeout_s: 0 stops at the first recipe that is accepted; otherwise the search goes on for so many seconds
            and the accepted model of the lowest cost wins.
        max_trials: at most so many recipes are tried.
        until: ``first`` or ``budget``; null: as ``timeout_s`` says, see ``TuningSettings``.
        seed: of everything random.
        eval_func: scores a model: a class path whose instances take the model and return a float. It has no paired
            test, so every trial reads whatever it reads.
        metric: any torchmetrics Metric of probabilities and labels, by class path, on all tuning rows. The exact AUROC
            when null, which alone has a paired test and so reads few rows.
        allow_nonfinite: read NaN and infinity in the tables as 0, instead of refusing such a model.
        overwrite: replace an earlier artifact that ``output`` holds.

    Raises:
        ConfigurationError: values that make no search, found here and not after the training.
    """

    def __init__(
        self,
        output: str = "artifacts/int8",
        *,
        recipe: RecipeStart = RecipeStart(),  # noqa: B008 (frozen; the default shows in --help)
        criterion: Criterion = Criterion(),  # noqa: B008
        strategy: str = "basic",
        objective: Objective | ObjectiveName = "size",
        space: SpaceSettings = SpaceSettings(),  # noqa: B008
        timeout_s: float = 0.0,
        max_trials: int = 100,
        until: Until | None = None,
        seed: int = 9527,
        eval_func: Callable[[nn.Module], float] | None = None,
        metric: Metric | None = None,
        allow_nonfinite: bool = False,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        check_arguments(QuantizationCallback.__init__, locals())
        if eval_func is not None and metric is not None:
            raise ConfigurationError(
                f"eval_func {eval_func!r} and metric {type(metric).__name__} exclude each other: give one score."
            )
        if eval_func is not None and criterion.worst_slice is not None:
            raise ConfigurationError(
                f"worst_slice by {criterion.worst_slice.by!r} needs the probabilities of each row, which an "
                "eval_func does not tell. Leave one of the two out."
            )
        self.output = Path(output)
        self.settings = TuningSettings(
            recipe=recipe,
            criterion=in_direction_of(metric, criterion),
            strategy=strategy,
            objective=objective,
            space=space,
            timeout_s=timeout_s,
            max_trials=max_trials,
            until=until,
            seed=seed,
        )
        self.eval_func = eval_func
        self.metric = metric
        self.allow_nonfinite = allow_nonfinite
        self.overwrite = overwrite
        self.listeners: list[TuningListener] = []
        self.outcome: Outcome | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find out before hours of training, not after, that the artifact cannot be written or the search not begin."""
        if stage == "fit" and trainer.is_global_zero:
            # The model is not there yet, so that no earlier artifact can be known for the same.
            check_folder(self.output, PlannedOutput("quantize", None, recognize_artifact, self.overwrite))
            if self.eval_func is None and self.metric is None:
                self.settings.criterion.check_auroc()
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            if isinstance(datamodule, DLRMDataModule) and not trainer.fast_dev_run:  # type: ignore[attr-defined]
                self.check_rows(datamodule)
            if isinstance(pl_module, DLRMModule):
                SearchSpace(self.settings.space, pl_module.model.architecture)
                if self.settings.criterion.worst_slice is not None:
                    self.settings.criterion.worst_slice.check(pl_module.model.architecture)

    def check_rows(self, datamodule: DLRMDataModule) -> None:
        """Refuse rows of a single class.

        Raises:
            DatasetError: names split and rows.
        """
        datamodule.require_quantizable(tuning=self.eval_func is None, max_rows=self.settings.criterion.max_rows)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Quantize what was just fitted, on rank zero; the other ranks wait."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.quantize(trainer, pl_module)
        trainer.strategy.barrier("dlrm_pl.quantization")

    @rank_zero_only
    def quantize(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Run the whole of it and keep the ``outcome``."""
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(datamodule, DLRMDataModule) or not isinstance(pl_module, DLRMModule):
            raise ConfigurationError(
                f"Quantization needs a DLRMModule and a DLRMDataModule, got {type(pl_module).__name__} and "
                f"{type(datamodule).__name__}."
            )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RichProgressBar):
                # It ends at teardown, after this, and two displays cannot share a terminal.
                callback.teardown(trainer, pl_module, "fit")
        self.outcome = quantize_module(pl_module, datamodule, self, trainer.loggers)


def in_direction_of(metric: Metric | None, criterion: Criterion) -> Criterion:
    """The criterion, with the metric's own word on whether lower is better, where it has one."""
    if metric is not None and metric.higher_is_better is False:
        return dataclasses.replace(criterion, higher_is_better=False)
    return criterion


def quantize_module(
    module: DLRMModule, datamodule: DLRMDataModule, callback: QuantizationCallback, loggers: Iterable[Logger] = ()
) -> Outcome:
    """Quantize a module with its data, as the callback says.

    Args:
        module: in the mode that it comes back in.
        datamodule: gives the three sets of rows.
        callback: says how.
        loggers: get the scalars of each trial, under its number as the step.

    Raises:
        DatasetError: the data is not that of the model.
        DLRMError: see ``build_artifact``.
    """
    difference = module.check_dataset(datamodule.table_sizes, datamodule.dataset_fingerprint)
    if difference:
        log.warning("%s. Goes on with it, as it was told to; the certificate says so.", difference)
    callback.check_rows(datamodule)
    data = QuantizationData(
        calibration=datamodule.calibration_dataloader(),
        tuning=datamodule.tuning_dataloader(),
        certification=datamodule.certification_dataloader(),
        row_ranges=datamodule.row_ranges,
        row_identities=datamodule.row_identities(),
        certification_checksum=datamodule.certification_checksum(),
        dataset_fingerprint=datamodule.dataset_fingerprint,
        batch_size=datamodule.eval_batch_size,
        best_possible_auroc=datamodule.best_possible_auroc("test"),
        other_dataset=difference,
    )
    eval_func = callback.eval_func
    if callback.metric is not None:
        eval_func = AUROCEvaluation(data.tuning, callback.metric)
    was_training = module.training
    module.eval()
    model = module.model.cpu()
    bags = model.embedding_bags
    assert isinstance(bags, EmbeddingBags)
    bags.nonfinite_as_zero = callback.allow_nonfinite
    table_bytes = 4 * model.architecture.embedding_dim * sum(model.architecture.table_sizes)
    try:
        timed = Objective.named(callback.settings.objective).latency > 0
        with SearchDisplay(Console(stderr=True), table_bytes) as display:
            outcome = build_artifact(
                *(model, data, callback.settings, callback.output),
                eval_func=eval_func,
                timer=InterleavedTimer(model, data.tuning) if timed else None,
                listeners=(display, TrialScalars(loggers), *callback.listeners),
                progress=display.packed,
                overwrite=callback.overwrite,
            )
    finally:
        bags.nonfinite_as_zero = False
        module.train(was_training)
    return outcome


def show(outcome: Outcome, console: Console) -> None:
    """Print the comparison; for the command line, after the progress bar has gone."""
    table = Table(title="fp32 beside int8, on the certification rows")
    table.add_column("")
    for column in ("fp32", "int8", "difference"):
        table.add_column(column, justify="right")
    for row in comparison(outcome.manifest, outcome.certificate):
        table.add_row(*row)
    console.print(table)
    console.print(drop_line(outcome.certificate), soft_wrap=True)
    if line := slice_line(outcome.certificate):
        console.print(line, soft_wrap=True)
    best = outcome.tuning.best
    trials = len(outcome.tuning.trials)
    console.print(f"recipe: {best.recipe.describe()} (trial {best.number} of {trials})", soft_wrap=True)
    console.print(verdict_line(outcome.certificate), soft_wrap=True)
    if not outcome.certificate.accepted:
        console.print(f"reason: {outcome.certificate.reason}", soft_wrap=True)
    console.print(f"artifact: {outcome.path}, on one page: {outcome.path / REPORT_NAME}", soft_wrap=True)
    for warning in outcome.certificate.warnings:
        console.print(f"[bold red]warning:[/] {escape(warning)}", soft_wrap=True, highlight=False)
