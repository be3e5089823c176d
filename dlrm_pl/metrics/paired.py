"""Difference of two models' AUROC on the same rows, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.logits import click_shares
from dlrm_pl.metrics.rows import as_array, check_both_classes, check_scores, clicks
from dlrm_pl.metrics.student import student_quantile

if TYPE_CHECKING:
    from torch import Tensor

# Number of rows, evenly spread over all: enough to know a variance well, while the time stays that of the sort.
_WEIGHTED_ROWS = 1 << 16


@dataclass(frozen=True)
class PairedDifference:
    """AUROC of two models on the same rows, and their difference.

    Attributes:
        first: AUROC of the first model.
        second: AUROC of the second model.
        difference: first minus second.
        standard_error: standard error of the difference; infinite with fewer than two rows of a class, where it is
            unknown.
        num_positives: number of clicks.
        num_negatives: number of non-clicks.
        degrees_of_freedom: degrees of freedom of the standard error, for Student's t; infinite where the standard error
            is 0 or unknown.

    Example:
        >>> from dlrm_pl.metrics import PairedDifference
        >>> difference = PairedDifference(0.80, 0.79, 0.01, standard_error=0.002, num_positives=900, num_negatives=9000)
        >>> tuple(round(end, 4) for end in difference.interval(confidence=0.95))
        (0.0061, 0.0139)
    """

    first: float
    second: float
    difference: float
    standard_error: float
    num_positives: int
    num_negatives: int
    degrees_of_freedom: float = math.inf

    def margin(self, alpha: float) -> float:
        """Return the distance to a one-sided bound that is wrong with probability ``alpha``, by Student's t."""
        if math.isinf(self.standard_error):
            return math.inf
        return student_quantile(1 - alpha, self.degrees_of_freedom) * self.standard_error

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the two-sided confidence interval of the difference."""
        margin = self.margin((1 - confidence) / 2)
        return self.difference - margin, self.difference + margin


def paired_auroc_difference(
    first: npt.ArrayLike | Tensor,
    second: npt.ArrayLike | Tensor,
    labels: npt.ArrayLike | Tensor,
    *,
    click_logits: npt.ArrayLike | Tensor | None = None,
) -> PairedDifference:
    """Compare the AUROC of two models on the same rows.

    Both models see the same rows, so their AUROCs rise and fall together: the difference is known far better than
    either of them.

    Args:
        first: scores of the first model, ``[rows]``; only their order counts, which logits keep best.
        second: scores of the second model, ``[rows]``.
        labels: 0 or 1, ``[rows]``.
        click_logits: how probable a click is in each row, as logits, ``[rows]``. With them, the standard error is never
            smaller, and is also right if the second model is far off in a few rows, see ``_part_by_weight``.

    Returns:
        Both AUROCs, their difference and its standard error.

    Raises:
        ShapeError: the lengths differ.
        NonFiniteError: a score is NaN; the message names its row.
        MetricError: all labels are the same, or one is neither 0 nor 1; the message names its row.

    Example:
        >>> import numpy as np
        >>> from dlrm_pl import paired_auroc_difference
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(-2, 1.5, 20_000)
        >>> labels = (rng.random(20_000) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
        >>> rounded = logits + rng.normal(0, 0.1, 20_000)
        >>> paired = paired_auroc_difference(logits, rounded, labels, click_logits=logits)
        >>> low, high = paired.interval(confidence=0.95)
        >>> low < paired.difference < high
        True

    Source: DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837; computed by sorting as in Sun, Xu 2014, IEEE SPL
    21:1389.
    """
    before, after, truth = as_array(first), as_array(second), as_array(labels)
    check_scores(before, truth)
    check_scores(after, truth)
    clicked = clicks(truth)
    positives, negatives = int(clicked.sum()), int((~clicked).sum())
    check_both_classes(positives, len(clicked))
    of_positives, of_negatives, aurocs = [], [], []
    for scores in (before, after):
        # Structural components: for each row, the share of the other class against which it is ordered correctly.
        won, held = _components(scores[clicked], scores[~clicked])
        aurocs.append(float(won.mean()))
        of_positives.append(won)
        of_negatives.append(held)
    of_clicks = _Part.of_sample(of_positives[0] - of_positives[1])
    if click_logits is not None and positives > 1:
        by_weight = _part_by_weight(before, after, ~clicked, as_array(click_logits))
        of_clicks = max(of_clicks, by_weight, key=lambda part: part.variance)
    parts = (of_clicks, _Part.of_sample(of_negatives[0] - of_negatives[1]))
    return PairedDifference(
        first=aurocs[0],
        second=aurocs[1],
        difference=aurocs[0] - aurocs[1],
        standard_error=math.sqrt(sum(part.variance for part in parts)),
        num_positives=positives,
        num_negatives=negatives,
        degrees_of_freedom=_degrees_of_freedom(parts),
    )


def _components(
    positives: npt.NDArray[Any], negatives: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return each click's share of non-clicks below it and each non-click's share of clicks above; ties count half."""
    return _share_below(positives, np.sort(negatives)), 1 - _share_below(negatives, np.sort(positives))


def _share_below(values: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the share of ``others``, which are sorted, below each value; ties count half."""
    count = np.searchsorted(others, values, side="left").astype(np.float64)
    count += np.searchsorted(others, values, side="right")
    return count / (2 * len(others))


@dataclass(frozen=True)
class _Part:
    """Variance of one part of the difference, the rows of one class, with its degrees of freedom."""

    variance: float
    degrees_of_freedom: int

    @classmethod
    def of_sample(cls, values: npt.NDArray[np.float64]) -> _Part:
        """Estimate the variance of a sample's mean; infinite for a single value."""
        count = len(values)
        return cls(float(np.var(values, ddof=1)) / count if count > 1 else math.inf, count - 1)


def _degrees_of_freedom(parts: Sequence[_Part]) -> float:
    """Return the degrees of freedom of a sum of independent parts (Welch-Satterthwaite): nearly the largest part's.

    Source: Welch 1947, Biometrika 34:28.
    """
    variance = sum(part.variance for part in parts)
    if not 0 < variance < math.inf:
        return math.inf
    return variance**2 / sum(part.variance**2 / part.degrees_of_freedom for part in parts)


def _part_by_weight(
    first: npt.NDArray[Any], second: npt.NDArray[Any], others: npt.NDArray[np.bool_], click_logits: npt.NDArray[Any]
) -> _Part:
    """Return the part of the clicks, estimated from all rows, each weighted by its click probability.

    Most of the uncertainty comes from a few hundred clicks. If one row in some hundreds is far off (its table row was
    rounded badly), most samples with so few clicks contain hardly any of these rows: both the drop and its variance
    look small. The other rows, thirty times as many, show what the clicks missed.

    In a simulation (``bound_errors`` in benchmarks/simulation.py, 16,384 rows with 3.3 % clicks, a drop of 0.0008, 800
    samples), upper bounds that may be wrong in 2.5 % of samples were wrong with normal noise in 2.1 % by the clicks
    alone, and in 2.0 % with this part; where 3 rows in 1000 had noise of 1000 times the variance, in 5.1 and 1.1 %.
    Student's t and a correction for the skewness of the sample did not help there: they do not reflect rows that were
    not drawn either.

    Args:
        first: scores of the first model, ``[rows]``.
        second: scores of the second model, ``[rows]``.
        others: mask of the rows without a click, ``[rows]``.
        click_logits: click probability of each row as a logit, ``[rows]``.
    """
    some = slice(None, None, math.ceil(len(first) / _WEIGHTED_ROWS))
    added = _share_below(first[some], np.sort(first[others])) - _share_below(second[some], np.sort(second[others]))
    shares = click_shares(click_logits[some])
    positives = len(others) - int(others.sum())
    return _Part(float(shares @ (added - shares @ added) ** 2) / positives, positives - 1)
