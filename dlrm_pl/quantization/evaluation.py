"""Score a model: the ``eval_func`` of the tuning loop.

Any callable that takes a model and returns a float (higher is better) will do. The one here reads a loader, keeps
the probabilities, and so lets the criterion judge two models on the same rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torchmetrics import Metric

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import NonFiniteError
from dlrm_pl.metrics.auroc import ExactAUROC
from dlrm_pl.metrics.calibration import ClickCalibration
from dlrm_pl.metrics.local import local

EvalFunc = Callable[[nn.Module], float]
"""Model -> score, higher is better. The model takes a ``ClickBatch`` and returns logits ``[B]``.

After a fit on several ranks it runs on rank zero alone: a torchmetrics Metric in it needs ``sync_on_compute=False``."""


@dataclass(frozen=True)
class Scores:
    """What a model scored, and on what.

    Attributes:
        value: the metric, higher is better.
        seconds: the model's forward passes, without reading the data; the whole call for a user's ``eval_func``.
        probabilities: float32 ``[rows]``, or None when a user's ``eval_func`` made the score.
        labels: uint8 ``[rows]``, or None.
        calibration: log loss, normalized entropy and calibration ratio; empty when there are no probabilities.
    """

    value: float
    seconds: float
    probabilities: npt.NDArray[np.float32] | None = None
    labels: npt.NDArray[np.uint8] | None = None
    calibration: dict[str, float] | None = None

    @property
    def rows(self) -> int:
        """Rows scored; 0 when unknown."""
        return 0 if self.labels is None else len(self.labels)


class AUROCEvaluation:
    """AUROC (a torchmetrics Metric) of a model over a loader.

    Args:
        batches: re-iterable.
        metric: scores probabilities against labels; the exact AUROC when None.
    """

    def __init__(self, batches: Iterable[ClickBatch], metric: Metric | None = None) -> None:
        self._batches = batches
        self._metric = local(ExactAUROC() if metric is None else metric)

    def __call__(self, model: nn.Module) -> float:
        """The score alone, so that this is an ``EvalFunc``."""
        return self.score(model).value

    def score(self, model: nn.Module) -> Scores:
        """The score with what it was made from.

        Raises:
            NonFiniteError: the model returned NaN or Inf; names the row.
            MetricError: the rows hold a single class.
        """
        self._metric.reset()
        calibration = local(ClickCalibration())
        probabilities: list[npt.NDArray[np.float32]] = []
        labels: list[npt.NDArray[np.uint8]] = []
        seconds, rows = 0.0, 0
        with torch.inference_mode():
            for batch in self._batches:
                began = time.perf_counter()
                scores = torch.sigmoid(model(batch)).float()
                seconds += time.perf_counter() - began
                # As integers, which is what torchmetrics' own metrics take.
                self._metric.update(check_finite(scores, rows), batch.labels.int())
                calibration.update(scores, batch.labels)
                probabilities.append(scores.numpy())
                labels.append(batch.labels.to(torch.uint8).numpy())
                rows += batch.num_samples
        return Scores(
            value=float(self._metric.compute()),
            seconds=seconds,
            probabilities=np.concatenate(probabilities),
            labels=np.concatenate(labels),
            calibration={name: float(value) for name, value in calibration.compute().items()},
        )


def score_with(eval_func: EvalFunc, model: nn.Module) -> Scores:
    """Score by any ``eval_func``, with all that it can tell.

    Raises:
        NonFiniteError: it returned NaN or Inf.
    """
    if isinstance(eval_func, AUROCEvaluation):
        return eval_func.score(model)
    began = time.perf_counter()
    value = float(eval_func(model))
    seconds = time.perf_counter() - began
    if not math.isfinite(value):
        raise NonFiniteError(f"eval_func {eval_func!r} returned {value}; a finite number is needed.")
    return Scores(value=value, seconds=seconds)


def check_finite(probabilities: torch.Tensor, first_row: int) -> torch.Tensor:
    """Return the argument, or raise NonFiniteError with the first row that is NaN."""
    bad = torch.isfinite(probabilities).logical_not()
    if bool(bad.any()):
        row = first_row + int(bad.nonzero()[0])
        raise NonFiniteError(f"Row {row} scored {probabilities[bad][0].item()}; the model's weights are not finite.")
    return probabilities
