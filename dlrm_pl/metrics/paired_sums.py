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
        """``after / before - 1``."""
        return self.after / self.before - 1

    @property
    def standard_error(self) -> float:
        """Of the change, by the delta method: the spread of ``after - ratio * before`` over the rows."""
        ratio = self.after / self.before
        # Rounding may leave a little less than nothing where the two are alike.
        squares = max(0.0, self.after_squared - 2 * ratio * self.products + ratio**2 * self.before_squared)
        return math.sqrt(squares) / self.before
