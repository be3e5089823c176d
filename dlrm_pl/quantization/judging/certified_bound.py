"""What the certification rows say of one drop: its estimate, its one-sided bounds, and whether they decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dlrm_pl.metrics.paired import PairedDifference
from dlrm_pl.metrics.sequential import rows_to_decide, side_of

JudgedBy = Literal["bound", "estimate"]
"""What is held against the tolerances: a bound that errs as seldom as the confidence says, or the estimate alone."""

BoundMethod = Literal["student_t", "rule_of_three", "none"]
"""``student_t``: DeLong's paired standard error, and Student's t of as many degrees as its rows give.
``rule_of_three``: both models order all rows alike, so nothing spreads; it allows for the share of rows that may be
ordered otherwise and yet be missed by so many. ``none``: a class of a single row tells nothing of its spread."""


@dataclass(frozen=True)
class CertifiedBound:
    """A drop on the certification rows.

    Attributes:
        estimate: of the drop.
        low: the drop is above it with the confidence; -inf where nothing can be said.
        high: the drop is below it with the confidence; inf where nothing can be said.
        rows: that it was measured on.
    """

    estimate: float
    low: float
    high: float
    rows: int

    def within(self, tolerance: float, judged_by: JudgedBy) -> bool | None:
        """Whether the drop is within a tolerance; None: so few rows cannot tell."""
        if judged_by == "estimate" or math.isnan(self.estimate):
            return self.estimate <= tolerance
        return {"within": True, "beyond": False, "open": None}[side_of(self.low, self.high, tolerance)]

    def rows_needed(self, tolerance: float) -> int | None:
        """About how many rows would tell; None where nobody knows."""
        return rows_to_decide(self.rows, self.estimate, self.high, tolerance)


def bound_of_auroc(difference: PairedDifference, confidence: float) -> tuple[CertifiedBound, BoundMethod]:
    """One-sided bounds of a AUROC drop, each at the confidence, and where they come from.

    Simulated coverage is in ``benchmarks/simulation.py``: it holds from 10 clicks on, with ties, and where a few
    rows in ten thousand are far off.
    """
    rows = difference.num_positives + difference.num_negatives
    margin, method = difference.margin(1 - confidence), "student_t"
    if math.isinf(margin):
        method = "none"
    elif not difference.standard_error:
        # Were a larger share of the rows ordered otherwise, one would have been among these. Of a pair, either may be.
        margin, method = -2 * math.log(1 - confidence) / rows, "rule_of_three"
    estimate = difference.difference
    return CertifiedBound(estimate, estimate - margin, estimate + margin, rows), method  # type: ignore[return-value]


def finite(value: float) -> float | None:
    """For JSON, which has no infinity: None where nothing is known."""
    return value if math.isfinite(value) else None
