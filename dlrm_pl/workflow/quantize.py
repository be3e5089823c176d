"""Quantize a trained module with its data into a certified artifact, without a Trainer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

from torch import nn

from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.metric import Metric
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.quantization_data import QuantizationData
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.workflow.config import QuantizationConfig
from dlrm_pl.workflow.quantize_model import quantize_model

log = logging.getLogger(__name__)


def quantize(
    module: DLRMModule,
    datamodule: QuantizationData,
    output: str | os.PathLike[str] = "artifacts/int8",
    *,
    settings: TuningSettings = TuningSettings(),  # noqa: B008 (frozen; the default shows in help())
    eval_func: Callable[[nn.Module], float] | None = None,
    metric: Metric | None = None,
    allow_nonfinite: bool = False,
    overwrite: bool = False,
    with_vocabulary: bool = False,
    refresh: str | os.PathLike[str] | None = None,
    listeners: Sequence[TuningListener] = (),
) -> Outcome:
    """Turn a trained model into a certified int8 artifact; no Trainer is needed.

    Recipes are tried on the rows of val, and the best model is saved and certified on the rows of test. Neither the
    module nor the data module is changed, except that the module's weights are moved to the CPU, and learned row
    weights are multiplied into the tables and become 1.

    Args:
        module: trained module.
        datamodule: data module of the dataset that the module was trained on, or another with the methods of
            ``QuantizationData``; set up here.
        output: folder to write the artifact to. An existing artifact of the same model, rows and settings is replaced.
        settings: how to search, and how large an AUROC drop is tolerated.
        eval_func: function that scores a model, instead of AUROC.
        metric: torchmetrics Metric of probabilities and labels that scores trials, instead of AUROC.
        allow_nonfinite: read NaN and infinity in the tables as 0 instead of refusing the model.
        overwrite: replace an artifact in ``output`` that was made with other settings.
        with_vocabulary: put the dataset's dictionaries into the artifact, so that it can score raw values without the
            dataset.
        refresh: artifact of an earlier checkpoint of the same model, whose recipe is kept: only rows that have changed
            since then are packed, and a delta is written next to ``output``. There is no search for a recipe.
        listeners: objects that are notified of each trial while the search runs.

    Returns:
        The artifact's folder, its manifest and certificate, and all trials. ``outcome.certificate.outcome`` is
        ``accepted``, ``not accepted`` or ``undecided``.

    Raises:
        ConfigurationError: a setting has the wrong type or value.
        DatasetError: the data is not the model's, or all its rows have the same label.
        OutputError: the folder cannot be written, or holds something else.
        DLRMError: see ``build_artifact``.

    Example:
        >>> import tempfile
        >>> import dlrm_pl
        >>> folder = tempfile.TemporaryDirectory()
        >>> data = dlrm_pl.synthesize(f"{folder.name}/data", rows=4000, max_table_size=99)
        >>> datamodule = dlrm_pl.DLRMDataModule(f"{folder.name}/data")
        >>> module = dlrm_pl.DLRMModule(datamodule.table_sizes, embedding_dim=4, bottom_mlp=(13, 4), top_mlp=(1,))
        >>> settings = dlrm_pl.TuningSettings(criterion=dlrm_pl.Criterion(relative=0.5), max_trials=3)
        >>> outcome = dlrm_pl.quantize(module, datamodule, f"{folder.name}/int8", settings=settings)
        >>> outcome.manifest.int8_bytes < outcome.manifest.fp32_bytes
        True
        >>> folder.cleanup()
    """
    check_arguments(quantize, {"settings": settings})
    config = QuantizationConfig(
        output=output,  # type: ignore[arg-type]  # Becomes a Path in the config.
        tuning=settings,
        eval_func=eval_func,
        metric=metric,
        allow_nonfinite=allow_nonfinite,
        overwrite=overwrite,
        with_vocabulary=with_vocabulary,
        refresh=refresh,  # type: ignore[arg-type]
    )
    return quantize_module(module, datamodule, config, listeners=listeners)


def quantize_module(
    module: DLRMModule,
    datamodule: QuantizationData,
    config: QuantizationConfig,
    *,
    listeners: Sequence[TuningListener] = (),
    training: TrainingRecord | None = None,
) -> Outcome:
    """Quantize a module with the rows of its data module, according to the configuration.

    Args:
        module: trained module; its mode, training or evaluation, is restored.
        datamodule: data module that gives the three sets of rows; not changed.
        config: how to search, and where to write.
        listeners: objects that are notified of each trial, after the display on the terminal.
        training: record of the module's training, for the report; None if unknown.

    Raises:
        ConfigurationError: the module has another class, or the data module lacks a method.
        DatasetError: the data is not the model's, or all its rows have the same label.
        DLRMError: see ``build_artifact``.
    """
    if not isinstance(module, DLRMModule):
        raise ConfigurationError(f"Quantization needs a DLRMModule, got {type(module).__name__}.")
    return quantize_model(module, datamodule, config, listeners=listeners, training=training)
