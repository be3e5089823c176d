"""Guards: are the probabilities still right? AUROC is blind to that, and advertisers bid on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.sequential import Decision

# As in metrics/calibration.py: half a step of float32 below 1, where a sigmoid that reached 1 may have been.
_SMALLEST = 2.0**-25


@dataclass(frozen=True)
class GuardReading:
    """One guard on the rows read.

    On few rows a guard is as uncertain as the loss, so it is paired as well: both models saw the same labels, and the
    change from one to the other is far more certain than either value. Before the last look a guard is ``within`` or
    ``beyond`` only when its whole interval is, else more rows are read; at the last look its estimate decides.

    Attributes:
        name: ``log_loss`` or ``calibration_ratio``.
        before: of the fp32 model.
        after: of the trial.
        change: relative, ``after / before - 1``.
        standard_error: of the change; None where only the two numbers are known.
        tolerance: for the change, or for its size where both directions are bad.
        two_sided: a fall is as bad as a rise.
    """

    name: str
    before: float
    after: float
    change: float
    standard_error: float | None
    tolerance: float
    two_sided: bool

    def decision(self, reach: float, *, last: bool) -> Decision:
        """Which side of its tolerance the guard is on, with an interval of ``reach`` standard errors."""
        off = abs(self.change) if self.two_sided else self.change
        half = 0.0 if last or self.standard_error is None else reach * self.standard_error
        if off + half <= self.tolerance:
            return "within"
        return "beyond" if off - half > self.tolerance else "open"

    def describe(self) -> str:
        """The change in words."""
        return f"{self.name.replace('_', ' ')} {self.before:.6f} -> {self.after:.6f} ({self.change:+.3%})"


@dataclass(frozen=True)
class CertifiedGuard:
    """One guard on the certification rows, as a certificate states it.

    Attributes:
        name: ``log_loss``, ``normalized_entropy`` or ``calibration_ratio``.
        before: of the fp32 model.
        after: of the quantized model.
        change: relative, ``after / before - 1``.
        standard_error: of the change, paired.
        tolerance: for the change, or for its size in the case of the calibration ratio; None: measured, not judged.
        held: the change is within the tolerance.
    """

    name: str
    before: float
    after: float
    change: float
    standard_error: float
    tolerance: float | None
    held: bool


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
        before: probabilities of the fp32 model, ``[rows]``.
        after: probabilities of the trial.
        labels: 0 or 1.
        log_loss: tolerated relative increase, and so of normalized entropy: the two differ by a factor of the labels.
        calibration_ratio: tolerated relative shift of sum(predictions) / sum(labels).
    """
    readings = []
    if log_loss is not None:
        losses = [log_losses(probabilities, labels) for probabilities in (before, after)]
        change, error = _change_of_sum(losses[0], losses[1])
        means = float(losses[0].mean()), float(losses[1].mean())
        readings.append(GuardReading("log_loss", *means, change, error, log_loss, two_sided=False))
    if calibration_ratio is not None:
        change, error = _change_of_sum(before.astype(np.float64), after.astype(np.float64))
        clicks = float(np.sum(labels, dtype=np.float64))
        one, other = (float(np.sum(p, dtype=np.float64)) / clicks for p in (before, after))
        readings.append(GuardReading("calibration_ratio", one, other, change, error, calibration_ratio, two_sided=True))
    return tuple(readings)


def _change_of_sum(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Relative change of a sum over paired rows, with its standard error by the delta method."""
    mean = float(before.mean())
    ratio = float(after.mean()) / mean
    residuals = after - ratio * before
    return ratio - 1, float(residuals.std()) / (mean * math.sqrt(len(before)))


def log_losses(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Log loss of each row, in nats."""
    p = probabilities.astype(np.float64)
    losses: npt.NDArray[np.float64] = -np.log(np.maximum(np.where(labels == 1, p, 1 - p), _SMALLEST))
    return losses
