"""Counts of the rows for the data report and its warnings, made while the rows are processed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import RECORD_INTS
from dlrm_pl.data.formats.criteo_counts import NUM_DENSE
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS

Counts = npt.NDArray[np.int64]

# Powers of two: 0, 1, 2-3, 4-7, ..., and all above DENSE_BINS - 2.
_BOUNDS = [0, *(1 << power for power in range(DENSE_BINS.bit_length() - 1)), DENSE_BINS - 1]


def no_histogram() -> Counts:
    """Return an empty histogram of the dense values, ``[13, DENSE_BINS]``: 426 kB."""
    return np.zeros((NUM_DENSE, DENSE_BINS), np.int64)


@dataclass
class Counted:
    """Counts of one day's rows, made by one thread.

    Attributes:
        clicks: clicks among the rows that are kept.
        missing: empty fields of the rows that were read, by column, ``[40]``.
        histogram: histogram of the dense values of the rows that were read, ``[13, DENSE_BINS]``.
        largest: largest value of each dense feature, ``[13]``.
    """

    clicks: int = 0
    missing: Counts = field(default_factory=lambda: np.zeros(RECORD_INTS, np.int64))
    histogram: Counts = field(default_factory=no_histogram)
    largest: Counts = field(default_factory=lambda: np.zeros(NUM_DENSE, np.int64))


@dataclass
class DayStatistics:
    """Counts of one day: few numbers, since there may be hundreds of days.

    Attributes:
        rows: rows that were read.
        kept: rows that the sub-sample kept of those.
        clicks: clicks among the kept rows.
        missing: empty fields of the rows that were read, by column, ``[40]``.
        log2_histogram: histogram of their dense values by powers of two, ``[13, 14]``.
        largest: largest value of each dense feature, ``[13]``.
    """

    rows: int = 0
    kept: int = 0
    clicks: int = 0
    missing: Counts = field(default_factory=lambda: np.zeros(RECORD_INTS, np.int64))
    log2_histogram: Counts = field(default_factory=lambda: np.zeros((NUM_DENSE, len(_BOUNDS)), np.int64))
    largest: Counts = field(default_factory=lambda: np.zeros(NUM_DENSE, np.int64))


@dataclass
class LogStatistics:
    """Counts of all days.

    Attributes:
        days: counts of each day, in order.
        histogram: histogram of the dense values of all rows that were read, ``[13, DENSE_BINS]``.
    """

    days: list[DayStatistics]
    histogram: Counts = field(default_factory=no_histogram)

    def add(self, number: int, counted: Counted) -> None:
        """Add the counts that a thread made of a day; its rows are counted elsewhere, in their order."""
        day = self.days[number]
        day.clicks += counted.clicks
        day.missing += counted.missing
        day.log2_histogram += np.add.reduceat(counted.histogram, _BOUNDS, axis=1)
        np.maximum(day.largest, counted.largest, out=day.largest)
        self.histogram += counted.histogram


def save(statistics: LogStatistics, path: Path) -> None:
    """Write the counts as an npz file."""
    days = statistics.days
    with path.open("wb") as handle:
        np.savez_compressed(
            handle,
            numbers=np.array([[day.rows, day.kept, day.clicks] for day in days], np.int64).reshape(-1, 3),
            missing=np.array([day.missing for day in days], np.int64).reshape(-1, RECORD_INTS),
            log2=np.array([day.log2_histogram for day in days], np.int64).reshape(-1, NUM_DENSE, len(_BOUNDS)),
            largest=np.array([day.largest for day in days], np.int64).reshape(-1, NUM_DENSE),
            histogram=statistics.histogram,
        )


def load(path: Path) -> LogStatistics:
    """Read the counts that ``save`` wrote."""
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
        arrays = [archive[name] for name in ("numbers", "missing", "log2", "largest")]
        histogram = archive["histogram"]
    days = [
        DayStatistics(int(numbers[0]), int(numbers[1]), int(numbers[2]), missing, log2, largest)
        for numbers, missing, log2, largest in zip(*arrays, strict=True)
    ]
    return LogStatistics(days, histogram)
