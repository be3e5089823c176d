"""The difference of two models' AUROC on the same rows, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import MetricError, ShapeError


@dataclass(frozen=True)
class PairedDifference:
    """AUROC of two models on the same rows.

    Attributes:
        first: AUROC of the first model.
        second: AUROC of the second.
        difference: first minus second.
        standard_error: of the difference; infinite with fewer than two rows of a class, where it is unknown.
        num_positives: clicks.
        num_negatives: others.
    """

    first: float
    second: float
    difference: float
    standard_error: float
    num_positives: int
    num_negatives: int

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided normal interval of the difference."""
        reach = NormalDist().inv_cdf(0.5 + confidence / 2) * self.standard_error
        return self.difference - reach, self.difference + reach

    def upper_bound(self, confidence: float) -> float:
        """One-sided: the difference is below it with this confidence."""
        return self.difference + NormalDist().inv_cdf(confidence) * self.standard_error


def paired_auroc_difference(
    first: npt.NDArray[Any], second: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> PairedDifference:
    """Compare two models on the same rows.

    Args:
        first: scores of the first model, ``[rows]``.
        second: scores of the second model, ``[rows]``.
        labels: 0 or 1, ``[rows]``.

    Raises:
        ShapeError: the lengths differ.
        MetricError: a single class.

    Source: DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837; by sorting as Sun, Xu 2014, IEEE SPL 21:1389.
    """
    if not (first.shape == second.shape == labels.shape) or labels.ndim != 1:
        raise ShapeError(f"Scores {first.shape} and {second.shape} and labels {labels.shape} must be of the same rows.")
    clicked = np.asarray(labels, dtype=bool)
    positives, negatives = int(clicked.sum()), int((~clicked).sum())
    if not positives or not negatives:
        raise MetricError(f"AUROC is undefined on a single class: {positives} clicks among {len(clicked)} rows.")
    of_positives, of_negatives, aurocs = [], [], []
    for scores in (first, second):
        # Structural components: the share of the other class that each row is ordered right against.
        won, held = _components(scores[clicked], scores[~clicked])
        aurocs.append(float(won.mean()))
        of_positives.append(won)
        of_negatives.append(held)
    variance = _variance_of_mean(of_positives[0] - of_positives[1])
    variance += _variance_of_mean(of_negatives[0] - of_negatives[1])
    return PairedDifference(
        first=aurocs[0],
        second=aurocs[1],
        difference=aurocs[0] - aurocs[1],
        standard_error=math.sqrt(variance),
        num_positives=positives,
        num_negatives=negatives,
    )


def _components(
    positives: npt.NDArray[Any], negatives: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For each click the share of non-clicks below it, for each non-click the share of clicks above; ties half."""
    sorted_positives, sorted_negatives = np.sort(positives), np.sort(negatives)
    won = np.searchsorted(sorted_negatives, positives, side="left").astype(np.float64)
    won += np.searchsorted(sorted_negatives, positives, side="right")
    lost = np.searchsorted(sorted_positives, negatives, side="left").astype(np.float64)
    lost += np.searchsorted(sorted_positives, negatives, side="right")
    return won / (2 * len(negatives)), 1 - lost / (2 * len(positives))


def _variance_of_mean(values: npt.NDArray[np.float64]) -> float:
    """Variance of the mean of a sample; one value tells nothing of it."""
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else math.inf
