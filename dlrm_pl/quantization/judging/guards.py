"""Guards: are the probabilities still right? AUROC is blind to that, and advertisers bid on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.logits import click_probabilities, log_losses
from dlrm_pl.metrics.paired_sums import relative_change
from dlrm_pl.metrics.sequential import Decision
from dlrm_pl.metrics.student import student_quantile


@dataclass(frozen=True)
class GuardReading:
    """One guard on the rows read.

    On few rows a guard is as uncertain as the drop, so it is paired as well: both models saw the same labels, and the
    change from one to the other is far more certain than either value. Before the last look a guard is ``within`` or
    ``beyond`` only when its whole interval is, else more rows are read; at the last look its estimate decides.

    Attributes:
        name: ``log_loss``, ``calibration_ratio`` or ``worst_slice``.
        before: of the fp32 model.
        after: of the trial.
        change: relative, ``after / before - 1``; infinite where something came of nothing.
        standard_error: of the change; None where only the two numbers are known, or the change is infinite.
        tolerance: for the change, or for its size where both directions are bad.
        two_sided: a fall is as bad as a rise.
        higher_is_better: a fall is what is bad, as of AUROC.
        slice: score and slice of the rows that this is, see ``worst_slice.py``; empty for all rows.
        slices: how many were judged, of which this is the worst; 0 where all were too small.
        left_out: how many were too small to be judged.
        degrees_of_freedom: by which the standard error is known; None: so many that it does not matter.
    """

    name: str
    before: float
    after: float
    change: float
    standard_error: float | None
    tolerance: float
    two_sided: bool
    higher_is_better: bool = False
    slice: str = ""
    slices: int = 1
    left_out: int = 0
    degrees_of_freedom: float | None = None

    def decision(self, error: float, *, last: bool, strict_error: float | None = None) -> Decision:
        """Which side of its tolerance the guard is on, each bound of which errs with a probability of ``error``.

        Args:
            error: that a bound may make.
            last: no more rows will come.
            strict_error: of the lower bound of the drop, where the guard is the worst of several; the same if None.
        """
        if not self.slices:
            return "beyond" if last else "open"
        off = abs(self.change) if self.two_sided else -self.change if self.higher_is_better else self.change
        spread = 0.0 if last or self.standard_error is None else self.standard_error
        degrees = math.inf if self.degrees_of_freedom is None else self.degrees_of_freedom
        reach = student_quantile(1 - error, degrees) * spread
        strict_reach = student_quantile(1 - (error if strict_error is None else strict_error), degrees) * spread
        if off - strict_reach > self.tolerance:
            return "beyond"
        # Slices that have too few rows so far may have enough later.
        waits = bool(self.left_out) and not last
        return "within" if off + reach <= self.tolerance and not waits else "open"

    def describe(self) -> str:
        """The change in words."""
        name = self.name.replace("_", " ")
        if self.slice:
            too_small = f", {self.left_out} too small to judge" if self.left_out else ""
            name += f" ({self.slice}, of {self.slices} slices{too_small})"
        return f"{name} {self.before:.6f} -> {self.after:.6f} ({describe_change(self.change)})"

    def describe_failure(self) -> str:
        """Why a guard that is ``beyond`` is so, in words."""
        if not self.slices:
            return (
                f"{self.name.replace('_', ' ')} by {self.slice} cannot be judged: each of the {self.left_out} slices "
                f"is too small to tell a drop of {self.tolerance:.2%} from none; ask for fewer slices, or tolerate more"
            )
        return f"{self.describe()} exceeds the guard of {self.tolerance:.2%}"


@dataclass(frozen=True)
class CertifiedGuard:
    """One guard on the certification rows, as a certificate states it.

    Attributes:
        name: ``log_loss``, ``normalized_entropy`` or ``calibration_ratio``.
        before: of the fp32 model.
        after: of the quantized model.
        change: relative, ``after / before - 1``; None where something came of nothing.
        standard_error: of the change, paired; None where it is not known.
        tolerance: for the change, or for its size in the case of the calibration ratio; None: measured, not judged.
        at_least: one-sided bound of what is held against the tolerance, with the certificate's confidence; None where
            nothing is known.
        at_most: the other one.
        held: the change is within the tolerance; None: so few rows cannot tell.
    """

    name: str
    before: float
    after: float
    change: float | None
    standard_error: float | None
    tolerance: float | None
    at_least: float | None
    at_most: float | None
    held: bool | None


def read_guards(
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    *,
    log_loss: float | None,
    calibration_ratio: float | None,
) -> tuple[GuardReading, ...]:
    """Measure the guards that have a tolerance.

    Args:
        before: logits of the fp32 model, ``[rows]``.
        after: logits of the trial.
        labels: 0 or 1.
        log_loss: tolerated relative increase, and so of normalized entropy: the two differ by a factor of the labels.
        calibration_ratio: tolerated relative shift of sum(predictions) / sum(labels).
    """
    readings = []
    if log_loss is not None:
        losses = [log_losses(logits, labels) for logits in (before, after)]
        change, error = change_of_sum(losses[0], losses[1])
        means = float(losses[0].mean()), float(losses[1].mean())
        readings.append(GuardReading("log_loss", *means, change, error, log_loss, two_sided=False))
    if calibration_ratio is not None:
        predictions = [click_probabilities(logits) for logits in (before, after)]
        change, error = change_of_sum(predictions[0], predictions[1])
        clicks = float(np.sum(labels, dtype=np.float64))
        one, other = (float(p.sum()) / clicks for p in predictions)
        readings.append(GuardReading("calibration_ratio", one, other, change, error, calibration_ratio, two_sided=True))
    return tuple(readings)


def change_of_sum(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> tuple[float, float | None]:
    """Relative change of a sum over paired rows, not negative, with its standard error by the delta method.

    The error is None where the change is infinite, or too large for the square of it.
    """
    mean = float(before.mean())
    change = relative_change(mean, float(after.mean()))
    if mean == 0 or math.isinf(change):
        return change, None if change else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        # Divided first: the squares of what is very small would be 0.
        error = float((after / mean - (change + 1) * (before / mean)).std()) / math.sqrt(len(before))
    return change, error if math.isfinite(error) else None


def describe_change(change: float | None, digits: int = 3) -> str:
    """In percent; in words where something came of nothing, which a certificate states as None."""
    return "of nothing" if change is None or math.isinf(change) else f"{change:+.{digits}%}"
