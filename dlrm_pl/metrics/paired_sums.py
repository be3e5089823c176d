"""Relative change of a mean over paired rows, with its standard error by the delta method.

``change_of_mean`` takes the rows themselves. ``PairedSums`` keeps only sums, for any number of rows; it subtracts
squares that are nearly equal, which leaves its standard error about eight correct digits instead of sixteen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass
class PairedSums:
    """Sums of two numbers per row, in constant memory.

    Attributes:
        rows: number of rows added so far.
        before: sum of the first numbers.
        after: sum of the second numbers.
        before_squared: sum of squares of the first.
        after_squared: sum of squares of the second.
        products: sum of the products.
    """

    rows: int = 0
    before: float = 0.0
    after: float = 0.0
    before_squared: float = 0.0
    after_squared: float = 0.0
    products: float = 0.0

    def add(self, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> None:
        """Add rows, ``[rows]`` each."""
        first, second = before.astype(np.float64), after.astype(np.float64)
        self.rows += len(first)
        self.before += float(first.sum())
        self.after += float(second.sum())
        # Without BLAS, whose buffers are larger than the rows.
        self.before_squared += float((first * first).sum())
        self.after_squared += float((second * second).sum())
        self.products += float((first * second).sum())

    @property
    def change(self) -> float:
        """Return the relative change of the sum, see ``relative_change``."""
        return relative_change(self.before, self.after)

    @property
    def standard_error(self) -> float | None:
        """Return the change's standard error by the delta method: the spread of ``after - ratio * before``.

        None where the change is infinite, or so large that its square overflows.
        """
        ratio = self.change + 1
        squares = self.after_squared - 2 * ratio * self.products + ratio * ratio * self.before_squared
        if not math.isfinite(squares):
            return None
        # Rounding may leave a slightly negative number if the two are alike.
        return math.sqrt(max(0.0, squares)) / self.before if self.before else 0.0


def relative_change(before: float, after: float) -> float:
    """Return ``after / before - 1``; if ``before`` is zero, 0 if ``after`` is zero as well, else infinity."""
    if before == 0:
        return 0.0 if after == 0 else math.inf
    return after / before - 1


def change_of_mean(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> tuple[float, float | None]:
    """Return the relative change of the mean of non-negative rows, ``[rows]`` each, and its standard error.

    The error is None where the change is infinite, or so large that its square overflows.
    """
    mean = float(before.mean())
    change = relative_change(mean, float(after.mean()))
    if mean == 0 or math.isinf(change):
        return change, None if change else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        # Divide first: the squares of very small numbers would be 0.
        error = float((after / mean - (change + 1) * (before / mean)).std()) / math.sqrt(len(before))
    return change, error if math.isfinite(error) else None
