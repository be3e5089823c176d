"""Distances from the estimates at one look at the rows to their bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlrm_pl.metrics.student import student_quantile


@dataclass(frozen=True)
class Bounds:
    """Error probabilities of the one-sided bounds at one look.

    Attributes:
        alpha: allowed probability that one bound is wrong; with 0.5, the bound is the estimate itself.
        num_comparisons: number of slices that share ``alpha`` when the failure of any one of them decides (Bonferroni).
        last: whether no more rows will come, so that the estimates decide what the bounds leave open.
    """

    alpha: float
    num_comparisons: int = 1
    last: bool = True

    def critical_value(self, degrees_of_freedom: float = math.inf) -> float:
        """Return the number of standard errors from an estimate to its bound, by Student's t."""
        return student_quantile(1 - self.alpha, degrees_of_freedom)

    def simultaneous_critical_value(self, degrees_of_freedom: float = math.inf) -> float:
        """Return the number of standard errors to a bound that holds for all comparisons at once."""
        return student_quantile(1 - self.alpha / self.num_comparisons, degrees_of_freedom)

    def two_sided_critical_value(self, degrees_of_freedom: float = math.inf) -> float:
        """Return the number of standard errors to either end of an interval with total error ``alpha``."""
        return student_quantile(1 - self.alpha / 2, degrees_of_freedom)


ESTIMATES = Bounds(alpha=0.5)
"""Bounds without a margin: the estimates decide."""
