"""Guards on the click probabilities, which AUROC ignores and advertisers base their bids on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dlrm_pl.metrics.paired_sums import change_of_mean
from dlrm_pl.metrics.sequential import Decision, side_of
from dlrm_pl.quantization.judging.bounds import Bounds
from dlrm_pl.quantization.judging.paired_scores import PairedScores


class Guard(Protocol):
    """A condition in addition to the AUROC drop, measured on the same rows."""

    def read(self, scores: PairedScores, bounds: Bounds) -> GuardReading:
        """Measure the guard on the rows read so far."""
        ...


@dataclass(frozen=True)
class GuardReading:
    """One guard as measured on the rows read.

    On few rows a guard is as uncertain as the drop, so it is paired as well: both models score rows with the same
    labels, and the change from one to the other is far more certain than either value. Before the last look, a guard is
    ``within`` or ``beyond`` only if its whole interval is; otherwise more rows are read. At the last look, its estimate
    decides.

    Attributes:
        name: ``log_loss``, ``calibration_ratio`` or ``worst_slice``.
        before: value for the fp32 model.
        after: value for the trial.
        change: relative change, ``after / before - 1``; infinite where ``before`` is 0 and ``after`` is not.
        standard_error: standard error of the change; None where it is unknown, or the change is infinite.
        tolerance: tolerance for the change, or for its absolute value where both directions are bad.
        two_sided: whether a fall is as bad as a rise.
    """

    name: str
    before: float
    after: float
    change: float
    standard_error: float | None
    tolerance: float
    two_sided: bool = False

    @property
    def judged(self) -> bool:
        """True if there were enough rows to measure the guard."""
        return True

    @property
    def deviation(self) -> float:
        """The change as compared with the tolerance: positive in the bad direction."""
        return abs(self.change) if self.two_sided else self.change

    def decision(self, bounds: Bounds) -> Decision:
        """Return on which side of its tolerance the guard is."""
        margin = bounds.critical_value() * self.spread(bounds)
        return side_of(self.deviation - margin, self.deviation + margin, self.tolerance)

    def spread(self, bounds: Bounds) -> float:
        """Return the standard error that the decision uses: 0 at the last look, where the estimate decides."""
        return 0.0 if bounds.last or self.standard_error is None else self.standard_error

    def describe(self) -> str:
        """Describe the change."""
        return f"{self.name.replace('_', ' ')} {self.before:.6f} -> {self.after:.6f} ({describe_change(self.change)})"

    def describe_failure(self) -> str:
        """Explain why the guard failed."""
        return f"{self.describe()}; tolerance {self.tolerance:.2%}: failed"


@dataclass(frozen=True)
class LogLossGuard:
    """Guard on the mean log loss.

    Attributes:
        tolerance: tolerated relative increase; normalized entropy increases by the same share, since the two differ by
            a factor that depends only on the labels.
    """

    tolerance: float

    def read(self, scores: PairedScores, bounds: Bounds) -> GuardReading:
        """Measure the log loss of both models."""
        before, after = scores.log_losses()
        change, error = change_of_mean(before, after)
        return GuardReading("log_loss", float(before.mean()), float(after.mean()), change, error, self.tolerance)


@dataclass(frozen=True)
class CalibrationGuard:
    """Guard on the calibration ratio, sum(predictions) / sum(labels).

    Attributes:
        tolerance: tolerated relative shift, up or down.
    """

    tolerance: float

    def read(self, scores: PairedScores, bounds: Bounds) -> GuardReading:
        """Measure the calibration ratio of both models."""
        before, after = scores.click_probabilities()
        change, error = change_of_mean(before, after)
        clicks = float(np.sum(scores.labels, dtype=np.float64))
        return GuardReading(
            name="calibration_ratio",
            before=float(before.sum()) / clicks,
            after=float(after.sum()) / clicks,
            change=change,
            standard_error=error,
            tolerance=self.tolerance,
            two_sided=True,
        )


def describe_change(change: float | None, digits: int = 3) -> str:
    """Format a relative change in percent; a change from zero, which is None in a certificate, as "from zero"."""
    return "from zero" if change is None or math.isinf(change) else f"{change:+.{digits}%}"
