"""Quantize a model with the rows of a data module into a certified artifact."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Sequence

from rich.console import Console

from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.benchmark.latency import InterleavedTimer
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.of_dataset import OfDataset
from dlrm_pl.model.weighted_bags import without_row_weights
from dlrm_pl.program import is_quiet
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judging.quantization_data import FirstRows, QuantizationData, check_data
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.objective import Objective
from dlrm_pl.workflow.config import QuantizationConfig
from dlrm_pl.workflow.search_display import SearchDisplay

log = logging.getLogger(__name__)


def quantize_model(
    owner: OfDataset,
    datamodule: QuantizationData,
    config: QuantizationConfig,
    *,
    listeners: Sequence[TuningListener] = (),
    training: TrainingRecord | None = None,
) -> Outcome:
    """Quantize a model with the rows of a data module, according to the configuration.

    Args:
        owner: holder of the model, which knows its dataset; the model is moved to the CPU, and its mode, training or
            evaluation, is restored.
        datamodule: data module that gives the three sets of rows; not changed.
        config: how to search, and where to write.
        listeners: objects that are notified of each trial, after the display on the terminal.
        training: record of the module's training, for the report; None if unknown.

    Raises:
        ConfigurationError: the data module lacks a method.
        DatasetError: the data is not the model's, or all its rows have the same label.
        DLRMError: see ``build_artifact``.
    """
    check_data(datamodule)
    datamodule.setup("test")
    base = None if config.refresh is None else RefreshBase.load(config.refresh, owner.model)
    if base is not None:
        base.warn_if_less_strict(config.tuning.criterion)
        with_vocabulary = config.with_vocabulary or base.has_vocabulary
        config = dataclasses.replace(config, tuning=base.settings(config.tuning), with_vocabulary=with_vocabulary)
    data = _rows_of(owner, datamodule, config)
    encoder: RowEncoder | None = getattr(datamodule, "encoder") if config.with_vocabulary else None  # noqa: B009
    eval_func = config.eval_func
    if config.metric is not None:
        eval_func = AUROCEvaluation(data.tuning, config.metric)
    was_training = owner.model.training
    model = without_row_weights(owner.model.cpu().eval())
    bags = model.embedding_bags
    assert isinstance(bags, EmbeddingBags)
    bags.nonfinite_as_zero = config.allow_nonfinite
    table_bytes = 4 * model.architecture.embedding_dim * sum(model.architecture.table_sizes)
    timed = Objective.named(config.tuning.objective).latency > 0
    try:
        with SearchDisplay(Console(stderr=True, quiet=is_quiet()), table_bytes) as display:
            return build_artifact(
                model,
                data,
                config.tuning,
                config.output,
                eval_func=eval_func,
                timer=InterleavedTimer(model, data.tuning) if timed else None,
                listeners=(display, *listeners),
                progress=display.packed,
                overwrite=config.overwrite,
                encoder=encoder,
                base=base,
                training=training,
            )
    finally:
        bags.nonfinite_as_zero = False
        owner.model.train(was_training)


def check_rows(config: QuantizationConfig, datamodule: QuantizationData) -> None:
    """Check that a data module gives three sets of rows, and, if it can tell, that they hold both classes.

    Raises:
        ConfigurationError: it lacks a method, or the dictionaries that the artifact is to contain.
        DatasetError: all rows of a set have the same label; the message names split and rows.
    """
    check_data(datamodule)
    if config.with_vocabulary:
        require = getattr(datamodule, "require_vocabulary", None)
        if require is None:
            raise ConfigurationError(
                "with_vocabulary needs a data module with the dictionaries of its dataset, but "
                f"{type(datamodule).__name__} has none. Leave it out, or use a DLRMDataModule."
            )
        require()
    require = getattr(datamodule, "require_quantizable", None)
    if require is not None:
        # The single recipe of a refresh is scored on the tuning rows only by a metric of the user's.
        unscored = config.refresh is not None and config.metric is None
        require(tuning=config.eval_func is None and not unscored, max_rows=config.tuning.criterion.max_rows)


def _rows_of(owner: OfDataset, datamodule: QuantizationData, config: QuantizationConfig) -> RowSets:
    """Take the rows of a data module, once it is known to be that of the module's dataset."""
    rows = config.calibration_rows
    if rows is not None and hasattr(datamodule, "calibration_rows"):
        datamodule = copy.copy(datamodule)  # The user's own data module keeps its number.
        datamodule.calibration_rows = rows
        rows = None
    columns, difference = getattr(datamodule, "columns", None), ""
    if hasattr(datamodule, "table_sizes"):
        fingerprint = getattr(datamodule, "dataset_fingerprint", "")
        difference = owner.check_dataset(datamodule.table_sizes, fingerprint, columns)
    if difference:
        log.warning("%s. Continuing because --force was given; the certificate records this.", difference)
    check_rows(config, datamodule)
    data = RowSets.of_datamodule(datamodule, difference)
    data = dataclasses.replace(data, columns=owner.columns)
    guard = config.tuning.criterion.worst_slice
    if guard is not None:
        guard.check(owner.architecture, data.columns)
    return data if rows is None else dataclasses.replace(data, calibration=FirstRows(data.calibration, rows))
