"""Mean and deviation of the standardized columns, independent of threads and interruptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns

Doubles = npt.NDArray[np.float64]

_ROUNDING = 1e-13
"""Deviation of equal values as a share of their mean, which is rounded. That of 32-bit floats which differ is larger,
unless all but one of billions are equal."""


@dataclass
class Moments:
    """Count of values, mean, and sum of squared distances from the mean, for each dense column.

    Chunks are added one by one, in order, so that rounding is the same in every run.

    Attributes:
        numbers: ``[3, N]``: count, mean and sum of squared distances.
    """

    numbers: Doubles

    @classmethod
    def nothing(cls, columns: Columns) -> Self:
        """Return the moments of no rows."""
        return cls(np.zeros((3, columns.num_dense)))

    def add(self, chunk: Moments) -> None:
        """Add the moments of the next rows.

        Source: Chan, Golub, LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances".
        """
        count, mean, squares = self.numbers
        more, its_mean, its_squares = chunk.numbers
        total = np.maximum(count + more, 1)
        apart = its_mean - mean
        self.numbers = np.stack(
            [count + more, mean + apart * more / total, squares + its_squares + apart**2 * count * more / total]
        )

    def set(self, dense: int, values: npt.NDArray[np.floating]) -> None:
        """Set a column's moments to those of some values."""
        if len(values):
            doubles = values.astype(np.float64)
            mean = doubles.mean()
            self.numbers[:, dense] = len(doubles), mean, ((doubles - mean) ** 2).sum()

    def constant(self, dense: int) -> float | None:
        """Return the value of a constant column; None if its values differ, or if there are none."""
        count, mean, squares = self.numbers[:, dense].tolist()
        return mean if count and np.sqrt(squares / count) <= _ROUNDING * abs(mean) else None

    def statistics(self, columns: Columns) -> dict[str, tuple[float, float]]:
        """Return the mean and deviation of the columns that need them, by name.

        The deviation of a column that is constant or always missing is 1, so that its standardized values become 0.
        """
        found = {}
        for dense, (column, (count, mean, squares)) in enumerate(
            zip(columns.dense, self.numbers.T.tolist(), strict=True)
        ):
            if not column.computed:
                deviation = float(np.float32(np.sqrt(squares / max(count, 1))))
                if deviation == 0 or self.constant(dense) is not None:
                    deviation = 1.0
                found[column.name] = float(np.float32(mean)), deviation
        return found
