"""Let a conf.yaml of LPOT set a QuantizationCallback."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from torchmetrics import Metric

from dlrm_pl.callbacks.quantization import QuantizationCallback, in_direction_of
from dlrm_pl.data.loading.datamodule import CALIBRATION_ROWS, DLRMDataModule
from dlrm_pl.migration.lpot.conf import LpotConf, read_lpot_conf
from dlrm_pl.model.architecture import Architecture

log = logging.getLogger(__name__)


def obey_lpot_conf(
    path: Path, callback: QuantizationCallback, datamodule: DLRMDataModule, architecture: Architecture
) -> LpotConf:
    """Read a conf.yaml, set what it asks for, and say what is ignored.

    Args:
        path: the file; it is not written to.
        callback: its settings and its output are changed.
        datamodule: its calibration rows are changed, unless it was told another number than its default.
        architecture: of the model.

    Returns:
        What the file asks for.

    Raises:
        ConfigurationError: see ``read_lpot_conf``.
    """
    conf = read_lpot_conf(path, architecture)
    for note in conf.notes:
        log.info("%s", note)
    if conf.metric is not None:
        _take_metric(conf.metric, callback, path)
    settings = conf.applied_to(callback.settings)
    # Also where the file says otherwise, of whatever metric it was written for.
    callback.settings = dataclasses.replace(settings, criterion=in_direction_of(callback.metric, settings.criterion))
    if conf.output is not None:
        callback.output = conf.output
    if conf.calibration_rows is not None:
        if datamodule.calibration_rows == CALIBRATION_ROWS:
            datamodule.calibration_rows = conf.calibration_rows
        else:
            log.info("%s: sampling_size gives way to data.calibration_rows=%d", path, datamodule.calibration_rows)
    settings = callback.settings
    tolerance = (
        f"absolute {settings.criterion.absolute:g}"
        if settings.criterion.absolute is not None
        else f"relative {settings.criterion.relative:g}"
    )
    log.info(
        "%s: model %s, strategy %s, tolerated drop %s, timeout %g s, at most %d trials, seed %d",
        *(path, conf.name, settings.strategy, tolerance, settings.timeout_s, settings.max_trials, settings.seed),
    )
    return conf


def _take_metric(metric: Metric, callback: QuantizationCallback, path: Path) -> None:
    """Score by the file's metric, unless the callback was given a score."""
    name = type(metric).__name__
    if callback.eval_func is not None or callback.metric is not None:
        log.info("%s: metric %s gives way to the score of the QuantizationCallback", path, name)
        return
    callback.metric = metric
    log.info("%s: trials are scored by %s, on all rows", path, name)
