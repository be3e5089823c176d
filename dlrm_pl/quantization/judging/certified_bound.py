"""A drop on the certification rows: its estimate, its one-sided bounds, and whether they decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dlrm_pl.metrics.paired import PairedDifference
from dlrm_pl.metrics.sequential import rows_to_decide, side_of

JudgedBy = Literal["bound", "estimate"]
"""What is compared with the tolerances: a bound at the confidence level, or only the estimate."""

BoundMethod = Literal["student_t", "rule_of_three", "none"]
"""``student_t``: DeLong's paired standard error, and Student's t with its estimated degrees of freedom.
``rule_of_three``: both models rank all rows identically, so the variance is 0; the bound allows for the share of
differently ordered rows that a sample of this size may miss. ``none``: a class has a single row, so the variance is
unknown."""


@dataclass(frozen=True)
class CertifiedBound:
    """A drop on the certification rows.

    Attributes:
        estimate: estimated drop.
        low: lower bound at the confidence; -inf where it is unknown.
        high: upper bound at the confidence; inf where it is unknown.
        rows: number of rows that the drop was measured on.
    """

    estimate: float
    low: float
    high: float
    rows: int

    def within(self, tolerance: float, judged_by: JudgedBy) -> bool | None:
        """Return whether the drop is within a tolerance; None if there are too few rows to decide."""
        if judged_by == "estimate" or math.isnan(self.estimate):
            return self.estimate <= tolerance
        return {"within": True, "beyond": False, "open": None}[side_of(self.low, self.high, tolerance)]

    def rows_needed(self, tolerance: float) -> int | None:
        """Estimate how many rows would decide; None if that is unknown."""
        return rows_to_decide(self.rows, self.estimate, self.high, tolerance)


def bound_of_auroc(difference: PairedDifference, confidence: float) -> tuple[CertifiedBound, BoundMethod]:
    """Return the one-sided bounds of an AUROC drop, each at the confidence level, and how they were computed.

    ``benchmarks/simulation.py`` simulates their coverage: it holds from 10 clicks on, with ties, and where a few rows
    in ten thousand are far off.
    """
    rows = difference.num_positives + difference.num_negatives
    margin, method = difference.margin(1 - confidence), "student_t"
    if math.isinf(margin):
        method = "none"
    elif not difference.standard_error:
        # If the models ordered a larger share of rows differently, the sample would contain such a row. It may be
        # either row of a pair.
        margin, method = -2 * math.log(1 - confidence) / rows, "rule_of_three"
    estimate = difference.difference
    return CertifiedBound(estimate, estimate - margin, estimate + margin, rows), method  # type: ignore[return-value]


def finite(value: float) -> float | None:
    """Return a number for JSON, which has no infinity: None instead."""
    return value if math.isfinite(value) else None
