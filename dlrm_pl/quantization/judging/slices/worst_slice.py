"""Guard that judges each slice of the rows separately, and reports the one that loses most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dlrm_pl.metrics.paired_sums import change_of_mean
from dlrm_pl.metrics.sequential import MIN_OF_A_CLASS, Decision
from dlrm_pl.quantization.judging.bounds import Bounds
from dlrm_pl.quantization.judging.guards import GuardReading, describe_change
from dlrm_pl.quantization.judging.paired_scores import PairedScores
from dlrm_pl.quantization.judging.slices.cuts import SCORE_NAMES, Slices, WorstSlice

NAME = "worst_slice"


@dataclass(frozen=True)
class WorstSliceGuard:
    """Guard on the slice that loses most.

    Attributes:
        rule: how rows are grouped, and the tolerance.
        slices: slices of the rows that are read.
    """

    rule: WorstSlice
    slices: Slices

    def read(self, scores: PairedScores, bounds: Bounds) -> SliceReading:
        """Measure all slices, and return the one that settles the guard.

        The guard passes when the interval of every slice is within the tolerance, and fails when the interval of any
        slice is beyond it. To wrongly report "all are within", a slice that is not within must be taken for one that
        is, so each slice may use the whole error probability (an intersection-union test, Berger 1982). To wrongly
        report "some slice is beyond", an error on any slice is enough, so the slices share the error probability
        (Bonferroni).

        When no more rows will come, a slice counts as too small if it cannot tell a drop as large as the tolerance from
        none and does not show a larger one: the largest of many uncertain drops is large by chance. For the others, the
        estimate decides.

        Source: Berger 1982, Technometrics 24:295.
        """
        measured, too_small = measure_slices(scores, self.slices, self.rule, bounds)
        worst = _decisive(measured, self.rule, bounds) if measured else _measure("", scores, self.rule)
        higher_is_better = self.rule.score == "auroc"
        return SliceReading(
            name=NAME,
            before=worst.before,
            after=worst.after,
            change=-worst.drop if higher_is_better else worst.drop,
            standard_error=worst.standard_error,
            tolerance=self.rule.tolerance,
            higher_is_better=higher_is_better,
            slice=f"{SCORE_NAMES[self.rule.score]} of {worst.name}" if measured else f"{self.rule.by}",
            slices=len(measured),
            too_small=too_small,
            degrees_of_freedom=worst.degrees_of_freedom if math.isfinite(worst.degrees_of_freedom) else None,
        )


@dataclass(frozen=True)
class SliceReading(GuardReading):
    """The worst slice as measured on the rows read.

    Attributes:
        higher_is_better: whether a higher score is better, as for AUROC, so that a fall is bad.
        slice: score and name of the slice, such as ``AUROC of C14=7``; the column alone if no slice was judged.
        slices: number of slices that were judged; this is the worst of them.
        too_small: number of slices that have rows, but too few to be judged.
        degrees_of_freedom: degrees of freedom of the standard error; None: so many that the normal distribution
            applies.
    """

    higher_is_better: bool = False
    slice: str = ""
    slices: int = 1
    too_small: int = 0
    degrees_of_freedom: float | None = None

    @property
    def judged(self) -> bool:
        """True if a slice had enough rows."""
        return self.slices > 0

    @property
    def deviation(self) -> float:
        """The drop of the score."""
        return -self.change if self.higher_is_better else self.change

    def decision(self, bounds: Bounds) -> Decision:
        """Return on which side of its tolerance the guard is, see ``WorstSliceGuard.read``."""
        if not self.judged:
            return "beyond" if bounds.last else "open"
        degrees = math.inf if self.degrees_of_freedom is None else self.degrees_of_freedom
        spread = self.spread(bounds)
        if self.deviation - bounds.simultaneous_critical_value(degrees) * spread > self.tolerance:
            return "beyond"
        # Slices that have too few rows so far may have enough later.
        waits = bool(self.too_small) and not bounds.last
        within = self.deviation + bounds.critical_value(degrees) * spread <= self.tolerance
        return "within" if within and not waits else "open"

    def describe(self) -> str:
        """Describe the change."""
        too_small = f"; {self.too_small} too small" if self.too_small else ""
        return (
            f"worst of {self.slices} slices ({self.slice}{too_small}) {self.before:.6f} -> {self.after:.6f} "
            f"({describe_change(self.change)})"
        )

    def describe_failure(self) -> str:
        """Explain why the guard failed."""
        if self.judged:
            return super().describe_failure()
        return (
            f"worst slice by {self.slice}: all {self.too_small} slices are too small to resolve a drop of "
            f"{self.tolerance:.2%}; use fewer slices or raise the tolerance"
        )


@dataclass(frozen=True)
class MeasuredSlice:
    """Measurements of one slice.

    Attributes:
        name: name of the slice.
        rows: number of rows in it.
        clicks: number of clicks among them.
        before: score of the fp32 model on them.
        after: score of the quantized model on them.
        drop: relative drop of the score; infinite where a log loss of 0 became larger.
        standard_error: standard error of the drop; 0 where the drop is infinite.
        degrees_of_freedom: degrees of freedom of the standard error.
    """

    name: str
    rows: int
    clicks: int
    before: float
    after: float
    drop: float
    standard_error: float
    degrees_of_freedom: float = math.inf

    def at_least(self, bounds: Bounds) -> float:
        """Return the lower bound of the drop that holds for all slices simultaneously."""
        return self.drop - self.simultaneous_margin(bounds)

    def at_most(self, bounds: Bounds) -> float:
        """Return the upper bound of the drop."""
        return self.drop + bounds.critical_value(self.degrees_of_freedom) * self.standard_error

    def simultaneous_margin(self, bounds: Bounds) -> float:
        """Return the distance from the drop to ``at_least``."""
        return bounds.simultaneous_critical_value(self.degrees_of_freedom) * self.standard_error

    def interval(self, bounds: Bounds) -> tuple[float, float]:
        """Return the two-sided interval of the drop of this slice alone."""
        margin = bounds.two_sided_critical_value(self.degrees_of_freedom) * self.standard_error
        return self.drop - margin, self.drop + margin


def measure_slices(
    scores: PairedScores, slices: Slices, rule: WorstSlice, bounds: Bounds
) -> tuple[list[MeasuredSlice], int]:
    """Measure each slice that can be judged.

    Args:
        scores: scores of the rows.
        slices: slices of the same rows.
        rule: score and tolerance.
        bounds: at the last look, slices whose margin is wider than the tolerance count as too small.

    Returns:
        The slices that can be judged, and the number of other slices that have rows, but too few.
    """
    measured: list[MeasuredSlice] = []
    too_small = 0
    for number, name in enumerate(slices.names):
        of_slice = scores.rows(np.flatnonzero(slices.numbers == number))
        if min(of_slice.clicks, len(of_slice) - of_slice.clicks) < MIN_OF_A_CLASS:
            too_small += len(of_slice) > 0
            continue
        part = _measure(name, of_slice, rule)
        margin = part.simultaneous_margin(bounds)
        if bounds.last and margin > rule.tolerance >= part.drop - margin:
            too_small += 1
            continue
        measured.append(part)
    return measured, too_small


def _decisive(measured: list[MeasuredSlice], rule: WorstSlice, bounds: Bounds) -> MeasuredSlice:
    """Return the slice that decides: with the largest drop at the last look, with the most extreme bound before."""
    if bounds.last:
        return max(measured, key=lambda part: part.drop)
    worst = max(measured, key=lambda part: part.at_least(bounds))
    if worst.at_least(bounds) > rule.tolerance:
        return worst
    return max(measured, key=lambda part: part.at_most(bounds))


def _measure(name: str, scores: PairedScores, rule: WorstSlice) -> MeasuredSlice:
    if rule.score == "log_loss":
        before, after = scores.log_losses()
        change, error = change_of_mean(before, after)
        return MeasuredSlice(
            name=name,
            rows=len(scores),
            clicks=scores.clicks,
            before=float(before.mean()),
            after=float(after.mean()),
            drop=change,
            standard_error=0.0 if error is None else error,
        )
    pair = scores.auroc_difference()
    # A slice that fp32 orders entirely wrong has nothing to lose, and its AUROC of 0 must not become a divisor.
    scale = max(pair.first, 0.5)
    return MeasuredSlice(
        name=name,
        rows=len(scores),
        clicks=scores.clicks,
        before=pair.first,
        after=pair.second,
        drop=pair.difference / scale,
        standard_error=pair.standard_error / scale,
        degrees_of_freedom=pair.degrees_of_freedom,
    )
