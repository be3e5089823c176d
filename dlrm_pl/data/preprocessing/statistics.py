"""What the rows of each day look like: counted while they pass, for the report and its warnings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import NUM_DENSE
from dlrm_pl.data.binary_format import RECORD_INTS
from dlrm_pl.kernels.preprocess import DENSE_BINS

Counts = npt.NDArray[np.int64]


@dataclass
class DayStatistics:
    """Of one day.

    Attributes:
        rows: that were read.
        kept: of those, after the sub-sample.
        clicks: among the kept ones.
        missing: empty fields by column, ``[40]``, of those that were read.
        histogram: of the dense values, ``[13, DENSE_BINS]``, of those that were read.
        largest: of the dense values, ``[13]``.
    """

    rows: int = 0
    kept: int = 0
    clicks: int = 0
    missing: Counts = field(default_factory=lambda: np.zeros(RECORD_INTS, np.int64))
    histogram: Counts = field(default_factory=lambda: np.zeros((NUM_DENSE, DENSE_BINS), np.int64))
    largest: Counts = field(default_factory=lambda: np.zeros(NUM_DENSE, np.int64))

    def add(self, other: DayStatistics) -> None:
        """Count other rows of the same day."""
        self.rows += other.rows
        self.kept += other.kept
        self.clicks += other.clicks
        self.missing += other.missing
        self.histogram += other.histogram
        np.maximum(self.largest, other.largest, out=self.largest)

    def log2_histogram(self) -> Counts:
        """The dense values by powers of two, ``[13, 14]``: 0, 1, 2-3, 4-7, ..., and all above DENSE_BINS - 2."""
        bounds = [0, *(1 << power for power in range(DENSE_BINS.bit_length() - 1)), DENSE_BINS - 1]
        return np.add.reduceat(self.histogram, bounds, axis=1)


def save(days: list[DayStatistics], path: Path) -> None:
    """Write them as npz."""
    numbers = np.array([[day.rows, day.kept, day.clicks] for day in days], np.int64).reshape(-1, 3)
    with path.open("wb") as handle:
        np.savez_compressed(
            handle,
            numbers=numbers,
            missing=np.array([day.missing for day in days], np.int64).reshape(-1, RECORD_INTS),
            histogram=np.array([day.histogram for day in days], np.int64).reshape(-1, NUM_DENSE, DENSE_BINS),
            largest=np.array([day.largest for day in days], np.int64).reshape(-1, NUM_DENSE),
        )


def load(path: Path) -> list[DayStatistics]:
    """Read them back."""
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in ("numbers", "missing", "histogram", "largest")}
    return [
        DayStatistics(int(numbers[0]), int(numbers[1]), int(numbers[2]), missing, histogram, largest)
        for numbers, missing, histogram, largest in zip(*arrays.values(), strict=True)
    ]
