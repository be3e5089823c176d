"""A guard on the certification rows, as stated in a certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dlrm_pl.metrics.student import student_quantile
from dlrm_pl.quantization.judging.certified_bound import CertifiedBound, JudgedBy

GuardName = Literal["log_loss", "normalized_entropy", "calibration_ratio"]


@dataclass(frozen=True)
class CertifiedGuard:
    """A guard on the certification rows.

    Attributes:
        name: ``log_loss``, ``normalized_entropy`` or ``calibration_ratio``.
        before: value for the fp32 model.
        after: value for the quantized model.
        change: relative change, ``after / before - 1``; None where it is a change from zero.
        standard_error: paired standard error of the change; None where it is unknown.
        tolerance: tolerance for the change, or for its absolute value in the case of the calibration ratio; None: the
            guard is disabled, and the change is only measured.
        passed: whether the change is within the tolerance; None: too few rows to decide.
        at_least: one-sided lower bound of ``deviation`` at the certificate's confidence; None where it is unknown, and
            in certificates of format 2.
        at_most: one-sided upper bound of ``deviation``; None in the same cases.

    Example:
        >>> from dlrm_pl import load_artifact
        >>> [guard.name for guard in load_artifact("artifacts/quickstart").certificate.guards]
        ['log_loss', 'normalized_entropy', 'calibration_ratio']
    """

    name: GuardName
    before: float
    after: float
    change: float | None
    standard_error: float | None
    tolerance: float | None
    passed: bool | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def title(self) -> str:
        """Name of the guard for messages, with spaces."""
        return self.name.replace("_", " ")

    @property
    def deviation(self) -> float:
        """The change as compared with the tolerance: its absolute value if both directions are bad."""
        if self.change is None:
            return math.inf
        return abs(self.change) if self.name == "calibration_ratio" else self.change

    def passes(self, bound: CertifiedBound, judged_by: JudgedBy) -> bool | None:
        """Return whether the guard passes, given bounds of its deviation; a disabled guard always passes."""
        return True if self.tolerance is None else bound.within(self.tolerance, judged_by)


def bound_of_guard(guard: CertifiedGuard, confidence: float, rows: int) -> CertifiedBound:
    """Return one-sided bounds of a guard's deviation, each at the confidence level."""
    deviation, error = guard.deviation, guard.standard_error
    margin = math.inf if error is None else student_quantile(confidence, math.inf) * error
    if math.isinf(deviation):
        margin = 0.0  # A change from zero is beyond any tolerance.
    low = deviation - margin
    if guard.name == "calibration_ratio":
        low = max(0.0, low)
    return CertifiedBound(deviation, low, deviation + margin, rows)
