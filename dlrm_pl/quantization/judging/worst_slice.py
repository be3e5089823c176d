"""Judge slices of the rows each by itself, and tell of the one that loses most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.logits import log_losses
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.metrics.sequential import MIN_OF_A_CLASS
from dlrm_pl.metrics.student import student_quantile
from dlrm_pl.quantization.judging.guards import GuardReading, change_of_sum
from dlrm_pl.quantization.judging.slices import SCORE_NAMES, Slices, WorstSlice

NAME = "worst_slice"


@dataclass(frozen=True)
class MeasuredSlice:
    """One slice: its rows and clicks, both scores, its relative drop, and how well that is known.

    Where something came of a log loss of nothing the drop is infinite, and its error counts as 0.
    """

    name: str
    rows: int
    clicks: int
    before: float
    after: float
    drop: float
    standard_error: float
    degrees_of_freedom: float = math.inf

    def reach(self, error: float) -> float:
        """From the drop to a bound that errs with a probability of ``error``."""
        return student_quantile(1 - error, self.degrees_of_freedom) * self.standard_error


def read_worst_slice(
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    slices: Slices,
    guard: WorstSlice,
    *,
    error: float,
    strict_error: float,
    last: bool,
) -> GuardReading:
    """Measure all slices, and return the one that settles the guard.

    The guard is held when the interval of every slice is within the tolerance, and broken when that of any slice is
    beyond. To say "all are within" wrongly, one slice that is not must be taken for one that is, so each slice may
    have the whole error to itself (an intersection-union test, Berger 1982). To say "some slice is beyond" wrongly,
    any of them will do, so they share the error (Bonferroni): each has ``strict_error``.

    With no more rows to come, a slice that could not tell a drop of the size of the tolerance from none, and does not
    show a larger one, is left out and counted: the largest of many uncertain drops is large by chance. Of the others
    the estimate decides.

    Args:
        before: logits of the fp32 model, ``[rows]``.
        after: of the trial.
        labels: 0 or 1.
        slices: of the same rows.
        guard: by what, and how much.
        error: that a bound may make.
        strict_error: the share of it that each slice has, where all share it.
        last: no more rows will come.

    Source: Berger 1982, Technometrics 24:295.
    """
    found, left_out = measure_slices(before, after, labels, slices, guard, strict_error=strict_error, last=last)
    higher_is_better = guard.score == "auroc"
    if not found:
        one = _measure("", before, after, labels, guard)
    elif last:
        one = max(found, key=lambda part: part.drop)
    else:
        one = max(found, key=lambda part: part.drop - part.reach(strict_error))
        if one.drop - one.reach(strict_error) <= guard.tolerance:
            one = max(found, key=lambda part: part.drop + part.reach(error))
    return GuardReading(
        name=NAME,
        before=one.before,
        after=one.after,
        change=-one.drop if higher_is_better else one.drop,
        standard_error=one.standard_error,
        degrees_of_freedom=one.degrees_of_freedom if math.isfinite(one.degrees_of_freedom) else None,
        tolerance=guard.tolerance,
        two_sided=False,
        higher_is_better=higher_is_better,
        slice=f"{SCORE_NAMES[guard.score]} of {one.name}" if found else f"{guard.by}",
        slices=len(found),
        left_out=left_out,
    )


def measure_slices(
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    slices: Slices,
    guard: WorstSlice,
    *,
    strict_error: float,
    last: bool,
) -> tuple[list[MeasuredSlice], int]:
    """Measure each slice that can be judged; the arguments are those of ``read_worst_slice``.

    Returns:
        The slices, and how many others have rows, but too few.
    """
    found: list[MeasuredSlice] = []
    left_out = 0
    for number, name in enumerate(slices.names):
        rows = np.flatnonzero(slices.numbers == number)
        clicks = int(np.count_nonzero(labels[rows]))
        if min(clicks, len(rows) - clicks) < MIN_OF_A_CLASS:
            left_out += len(rows) > 0
            continue
        one = _measure(name, before[rows], after[rows], labels[rows], guard)
        half = one.reach(strict_error)
        if last and half > guard.tolerance >= one.drop - half:
            left_out += 1
            continue
        found.append(one)
    return found, left_out


def _measure(
    name: str,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    guard: WorstSlice,
) -> MeasuredSlice:
    rows, clicks = len(labels), int(np.count_nonzero(labels))
    if guard.score == "log_loss":
        losses = [log_losses(logits, labels) for logits in (before, after)]
        change, error = change_of_sum(losses[0], losses[1])
        means = float(losses[0].mean()), float(losses[1].mean())
        return MeasuredSlice(name, rows, clicks, *means, change, 0.0 if error is None else error)
    pair = paired_auroc_difference(before, after, labels, click_logits=before)
    # A slice that fp32 orders all wrong has nothing to lose: an AUROC of 0 divides nothing.
    scale = max(pair.first, 0.5)
    scores = (pair.first, pair.second, pair.difference / scale, pair.standard_error / scale)
    return MeasuredSlice(name, rows, clicks, *scores, pair.degrees_of_freedom)
