"""Simulate pairs of models with a known AUROC drop, and count how often the paired tests err on their rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.paired import PairedDifference, paired_auroc_difference
from dlrm_pl.metrics.sequential import Look, look_at, next_look


@dataclass(frozen=True)
class BinormalPair:
    """A model that knows the click probabilities, and a copy of it with noise in its logits.

    In both classes, a row's score is normal with variance 1, with means as far apart as gives ``auroc``; the first
    model's logit is that of a click given the score. The second model's is the same function of the score plus
    independent normal noise, as much as makes the AUROC smaller by ``drop``: with distance d, and rows a and b of noise
    variances v and w, b ranks below a with probability Phi(d / sqrt(2 + v + w)).

    Attributes:
        auroc: of the first model.
        drop: of the second, in units of AUROC; 0 or more.
        label_rate: share of clicks.
        outlier_share: of rows whose noise is larger, as if they used a row of a table that was rounded badly.
        outlier_factor: by which the variance of their noise is larger.
    """

    auroc: float
    drop: float
    label_rate: float
    outlier_share: float = 0.0
    outlier_factor: float = 1.0

    def draw(
        self, rng: np.random.Generator, rows: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Draw the logits of both models and the labels, ``[rows]`` each."""
        labels = rng.random(rows) < self.label_rate
        score = rng.normal(size=rows) + self._distance * labels
        # Log odds of a click: those of the click rate plus the log of the ratio of the two densities.
        shift = math.log(self.label_rate / (1 - self.label_rate)) - self._distance**2 / 2
        first = self._distance * score + shift
        return first, self.copy(rng, first), labels

    def copy(self, rng: np.random.Generator, first: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Draw the logits of another copy of the first model, on the same rows."""
        deviation = math.sqrt(_noise_variance(self))
        outlier = rng.random(len(first)) < self.outlier_share
        factor = np.where(outlier, math.sqrt(self.outlier_factor), 1.0)
        copied: npt.NDArray[np.float64] = first + self._distance * deviation * factor * rng.normal(size=len(first))
        return copied

    @property
    def _distance(self) -> float:
        return math.sqrt(2) * NormalDist().inv_cdf(self.auroc)

    def _auroc_with(self, variance: float, distance: float) -> float:
        kinds = (1 - self.outlier_share, variance), (self.outlier_share, self.outlier_factor * variance)
        return sum(
            share * other_share * NormalDist().cdf(distance / math.sqrt(2 + one + other))
            for share, one in kinds
            for other_share, other in kinds
        )


@cache
def _noise_variance(pair: BinormalPair) -> float:
    """Find the noise of the rows that are not outliers, by bisection."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        falls_short = pair.auroc - pair._auroc_with(middle, pair._distance) < pair.drop
        low, high = (middle, high) if falls_short else (low, middle)
    return low


@dataclass(frozen=True)
class ErrorRates:
    """The verdicts of simulated trials.

    Attributes:
        trials: simulated.
        wrong: verdicts on the wrong side of the tolerance.
        open: without a verdict after all rows.
        rows: read by each trial.
    """

    trials: int
    wrong: int
    open: int
    rows: tuple[int, ...]

    @property
    def wrong_rate(self) -> float:
        """Share of wrong verdicts among all trials."""
        return self.wrong / self.trials


def error_rates(
    pair: BinormalPair, *, tolerance: float, confidence: float, first_block: int, rows: int, trials: int, seed: int
) -> ErrorRates:
    """Run the sequential test repeatedly on fresh rows; ``pair.drop`` tells which verdict is wrong."""
    rng: np.random.Generator = np.random.default_rng(seed)
    looks: list[Look] = []
    for _ in range(trials):
        drawn: tuple[npt.NDArray[Any], ...] = pair.draw(rng, rows)
        looks.append(sequential_auroc_test(*drawn, tolerance=tolerance, confidence=confidence, first_block=first_block))
    wrong = "beyond" if pair.drop <= tolerance else "within"
    return ErrorRates(
        trials=trials,
        wrong=sum(look.decision == wrong for look in looks),
        open=sum(look.decision == "open" for look in looks),
        rows=tuple(look.rows for look in looks),
    )


def sequential_auroc_test(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    tolerance: float,
    confidence: float,
    first_block: int,
) -> Look:
    """Run the whole test on rows that have been scored; the search runs it while it scores.

    Args:
        first: logits of the first model, ``[rows]``, in the order in which they come in; about right, see
            ``paired_auroc_difference``.
        second: scores of the second model.
        labels: 0 or 1.
        tolerance: for the AUROC drop, first minus second.
        confidence: each of the verdicts "within" and "beyond" is right with this probability, at least.
        first_block: rows of the first look.
    """
    number, rows = 0, 0
    while True:
        number += 1
        rows = min(next_look(rows, first_block), len(labels))
        last = rows == len(labels)
        if not last and not 0 < int(labels[:rows].sum()) < rows:
            number -= 1  # A single class: nothing to look at yet, nothing spent.
            continue
        difference = paired_auroc_difference(first[:rows], second[:rows], labels[:rows], click_logits=first[:rows])
        look = look_at(difference, number=number, tolerance=tolerance, confidence=confidence, last=last, rows=rows)
        if last or look.decision != "open":
            return look


@dataclass(frozen=True)
class Coverage:
    """How often the bounds held; each of the three may be wrong in 5 % of the samples.

    Attributes:
        two_sided: of the 95 % interval.
        upper: of the one-sided upper bound.
        lower: of the one-sided lower bound.
    """

    two_sided: float
    upper: float
    lower: float


def coverage(pair: BinormalPair, *, rows: int, samples: int, seed: int, step: float = 0.0) -> Coverage:
    """Draw rows repeatedly and count how often the bounds of a certificate hold.

    Args:
        pair: whose drop is known.
        rows: of a sample.
        samples: with two clicks or more.
        seed: of the drawing.
        step: logits are rounded to multiples of this, which makes ties; 0: they are not rounded.
    """
    rng: np.random.Generator = np.random.default_rng(seed)
    found: list[PairedDifference] = []
    for _ in range(samples):
        first, second, labels = pair.draw(rng, rows)
        while labels.sum() < 2:
            first, second, labels = pair.draw(rng, rows)
        if step:
            first, second = np.round(first / step) * step, np.round(second / step) * step
        found.append(paired_auroc_difference(first, second, labels, click_logits=first))
    # Rounding costs AUROC as well; the estimate is unbiased, so its mean is the drop by both.
    truth = pair.drop if not step else float(np.mean([one.difference for one in found]))
    held = np.zeros(3)
    for one in found:
        off, reach = one.difference - truth, one.margin(0.05)
        held += (abs(off) <= one.margin(0.025), off >= -reach, off <= reach)
    return Coverage(*(float(share) for share in held / samples))


def bound_errors(pair: BinormalPair, *, rows: int, error: float, samples: int, seed: int) -> dict[str, tuple[int, int]]:
    """Count how often the bounds of a single look are on the wrong side of the true drop.

    Args:
        pair: whose drop is known.
        rows: of the look.
        error: probability with which each bound may be wrong.
        samples: drawn afresh.
        seed: of the drawing.

    Returns:
        Wrong upper and wrong lower bounds, with the variance of ``clicks`` alone (DeLong's) and of all rows by
        ``weight``, see ``paired_auroc_difference``.
    """
    rng: np.random.Generator = np.random.default_rng(seed)
    reach = -NormalDist().inv_cdf(error)
    wrong = {"clicks": [0, 0], "weight": [0, 0]}
    for _ in range(samples):
        first, second, labels = pair.draw(rng, rows)
        for name, logits in (("clicks", None), ("weight", first)):
            found = paired_auroc_difference(first, second, labels, click_logits=logits)
            off = found.difference - pair.drop
            wrong[name][0] += off < -reach * found.standard_error
            wrong[name][1] += off > reach * found.standard_error
    return {name: (upper, lower) for name, (upper, lower) in wrong.items()}
