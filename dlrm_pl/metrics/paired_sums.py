"""The relative change of a mean over paired rows, with its standard error, from sums alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass
class PairedSums:
    """What is kept of two numbers a row, however many rows there are.

    Attributes:
        rows: added so far.
        before: sum of the first numbers.
        after: sum of the second ones.
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
        one, other = before.astype(np.float64), after.astype(np.float64)
        self.rows += len(one)
        self.before += float(one.sum())
        self.after += float(other.sum())
        # Not by BLAS, whose buffers are larger than the rows.
        self.before_squared += float((one * one).sum())
        self.after_squared += float((other * other).sum())
        self.products += float((one * other).sum())

    @property
    def change(self) -> float:
        """See ``relative_change``."""
        return relative_change(self.before, self.after)

    @property
    def standard_error(self) -> float | None:
        """Of the change, by the delta method: the spread of ``after - ratio * before`` over the rows.

        None where the change is infinite, or too large for the square of it.
        """
        ratio = self.change + 1
        squares = self.after_squared - 2 * ratio * self.products + ratio * ratio * self.before_squared
        if not math.isfinite(squares):
            return None
        # Rounding may leave a little less than nothing where the two are alike.
        return math.sqrt(max(0.0, squares)) / self.before if self.before else 0.0


def relative_change(before: float, after: float) -> float:
    """``after / before - 1``; of nothing, 0 where it stays nothing, else infinity."""
    if before == 0:
        return 0.0 if after == 0 else math.inf
    return after / before - 1
