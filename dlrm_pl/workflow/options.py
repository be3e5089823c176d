"""Command-line or call options that override the settings of a quantization."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from dlrm_pl.quantization.search.objective import ObjectiveName
from dlrm_pl.quantization.search.settings import StopAt
from dlrm_pl.workflow.config import QuantizationConfig


def with_options(
    config: QuantizationConfig,
    *,
    output: str | os.PathLike[str] | None = None,
    relative: float | None = None,
    absolute: float | None = None,
    timeout_s: float | None = None,
    max_trials: int | None = None,
    strategy: str | None = None,
    objective: ObjectiveName | None = None,
    stop_at: StopAt | None = None,
    seed: int | None = None,
    allow_nonfinite: bool = False,
    overwrite: bool = False,
    with_vocabulary: bool = False,
    refresh: str | os.PathLike[str] | None = None,
) -> QuantizationConfig:
    """Return a configuration with other values; values that are None or false are left unchanged.

    ``DLRMTrainer.quantize`` describes the options.
    """
    options = {
        "timeout_s": timeout_s,
        "max_trials": max_trials,
        "strategy": strategy,
        "objective": objective,
        "stop_at": stop_at,
        "seed": seed,
    }
    tuning: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if relative is not None or absolute is not None:
        tuning["criterion"] = dataclasses.replace(config.tuning.criterion, relative=relative, absolute=absolute)
    return dataclasses.replace(
        config,
        output=config.output if output is None else Path(output),
        tuning=dataclasses.replace(config.tuning, **tuning),
        allow_nonfinite=config.allow_nonfinite or allow_nonfinite,
        overwrite=config.overwrite or overwrite,
        with_vocabulary=config.with_vocabulary or with_vocabulary,
        refresh=config.refresh if refresh is None else Path(refresh),
    )
