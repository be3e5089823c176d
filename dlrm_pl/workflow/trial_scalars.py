"""Scalars of a search for the Trainer's loggers, such as TensorBoard and CSV, written while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dlrm_pl.quantization.judging.evaluation import Scores
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.trials.trial import Trial

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class TrialScalars(TuningListener):
    """Logs the numbers of each trial, with its number as the step; step 0 is the fp32 model.

    Args:
        loggers: loggers of the Trainer.
    """

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self._loggers = tuple(loggers)

    def on_baseline(self, baseline: Scores, tolerance: float) -> None:
        """Log the score of fp32 and the tolerance."""
        self._log({"trial/fp32_score": baseline.value, "trial/tolerance": tolerance}, 0)

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        """Log all numbers of a trial, even of one from an earlier run, so that every run's curves are complete."""
        values: dict[str, float | None] = {
            "trial/accepted": float(trial.accepted),
            "trial/failed": float(trial.failed),
            "trial/seconds": trial.seconds,
        }
        if trial.verdict is not None:
            values |= {
                "trial/score": trial.score,
                "trial/drop": trial.drop,
                "trial/drop_low": trial.verdict.low,
                "trial/drop_bound": trial.verdict.bound,
                "trial/tolerance": trial.verdict.tolerance,
                "trial/model_bytes": float(trial.model_bytes),
                "trial/samples_per_s": trial.samples_per_s or None,
                "trial/rows": float(trial.rows) if trial.rows else None,
                "trial/cost": trial.cost,
            }
            values |= {f"trial/{guard.name}_change": guard.change for guard in trial.verdict.guards}
        self._log(values, trial.number)

    def _log(self, values: dict[str, float | None], step: int) -> None:
        finite = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        for logger in self._loggers:
            logger.log_metrics(finite, step)
            logger.save()  # Loggers write every so many steps or seconds, but a trial may take minutes.
