"""Apply a conf.yaml of LPOT to the configuration of a quantization."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

from dlrm_pl.data.loading.split_loaders import CALIBRATION_ROWS
from dlrm_pl.metrics.metric import Metric
from dlrm_pl.migration.lpot.conf import LpotConf, read_lpot_conf
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.workflow.config import QuantizationConfig

log = logging.getLogger(__name__)


def apply_lpot_conf(
    path: str | os.PathLike[str],
    config: QuantizationConfig,
    *,
    architecture: Architecture,
    calibration_rows: int = CALIBRATION_ROWS,
    has_logger: bool = True,
) -> QuantizationConfig:
    """Read a conf.yaml of LPOT, and log what it requests and what is ignored.

    Args:
        path: conf.yaml; it is not written to.
        config: configuration to start from. If it has a score, that takes precedence over the file's metric.
        architecture: shape of the model.
        calibration_rows: number of calibration rows of the data module; unless it is the default, it takes precedence
            over the file's ``sampling_size``.
        has_logger: whether there is a logger for the scalars of the search, which ``tensorboard: true`` requests.

    Returns:
        The configuration with the settings of the file; ``config`` itself is unchanged.

    Raises:
        ConfigurationError: see ``read_lpot_conf``.
    """
    conf = read_lpot_conf(Path(path), architecture)
    for note in conf.notes:
        log.info("%s", note)
    if conf.tensorboard and not has_logger:
        log.warning("%s: tuning.tensorboard: the Trainer has no logger; give --trainer.logger", path)
    applied = dataclasses.replace(
        config,
        output=config.output if conf.output is None else conf.output,
        tuning=conf.applied_to(config.tuning),
        metric=_metric(conf, config, path),
        calibration_rows=_calibration_rows(conf, calibration_rows, path),
    )
    settings, criterion = applied.tuning, applied.tuning.criterion
    relative = f"relative {criterion.relative:g}" if criterion.relative is not None else ""
    log.info(
        "%s: model %s, strategy %s, tolerated drop %s, timeout %g s, at most %d trials, seed %d",
        path,
        conf.name,
        settings.strategy,
        f"absolute {criterion.absolute:g}" if criterion.absolute is not None else relative,
        settings.timeout_s,
        settings.max_trials,
        settings.seed,
    )
    return applied


def _metric(conf: LpotConf, config: QuantizationConfig, path: str | os.PathLike[str]) -> Metric | None:
    """The file's metric, unless the configuration has a score."""
    if conf.metric is None:
        return config.metric
    name = type(conf.metric).__name__
    if not config.scored_by_auroc:
        log.info("%s: metric %s is ignored, because the QuantizationCallback has a score", path, name)
        return config.metric
    log.info("%s: trials are scored by %s, on all rows", path, name)
    return conf.metric


def _calibration_rows(conf: LpotConf, asked_for: int, path: str | os.PathLike[str]) -> int | None:
    """The file's number of calibration rows, unless the data module was given one."""
    if conf.calibration_rows is None or asked_for == CALIBRATION_ROWS:
        return conf.calibration_rows
    log.info("%s: sampling_size is ignored: data.calibration_rows=%d was given", path, asked_for)
    return None
