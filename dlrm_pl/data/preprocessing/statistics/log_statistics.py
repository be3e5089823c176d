"""Counts of the rows for the data report and its warnings, made while the rows are processed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS
from dlrm_pl.data.preprocessing.statistics.dense_bins import NUM_GROUPS, grouped
from dlrm_pl.data.preprocessing.statistics.moments import Moments

Counts = npt.NDArray[np.int64]


@dataclass
class Counted:
    """Counts for one day's rows, made by one thread.

    Attributes:
        missing: number of missing values in the rows that were read, by column, ``[1 + N + T]``.
        histogram: histogram of the dense values in the rows that were read, ``[N, DENSE_BINS]``: 33 kB per column.
        largest: largest value of each dense feature, ``[N]``; for standardized features, the largest absolute value.
        clicks: number of clicks among the rows that are kept.
    """

    missing: Counts
    histogram: Counts
    largest: Counts
    clicks: int = 0

    @classmethod
    def nothing(cls, columns: Columns) -> Self:
        """Return zero counts."""
        dense = columns.num_dense
        return cls(
            np.zeros(len(columns.names), np.int64),
            np.zeros((dense, DENSE_BINS), np.int64),
            np.zeros(dense, np.int64),
        )


@dataclass
class DayStatistics:
    """Counts for one day: few numbers, since there may be hundreds of days.

    Attributes:
        missing: number of missing values in the rows that were read, by column, ``[1 + N + T]``.
        grouped: histogram of the dense values of these rows, in fewer groups, ``[N, NUM_GROUPS]``.
        largest: largest value of each dense feature, ``[N]``; for standardized features, the largest absolute value.
        rows: number of rows that were read.
        kept: number of these rows that the subsample kept.
        clicks: number of clicks among the kept rows.
    """

    missing: Counts
    grouped: Counts
    largest: Counts
    rows: int = 0
    kept: int = 0
    clicks: int = 0

    @classmethod
    def nothing(cls, columns: Columns) -> Self:
        """Return zero counts."""
        dense = columns.num_dense
        return cls(
            np.zeros(len(columns.names), np.int64),
            np.zeros((dense, NUM_GROUPS), np.int64),
            np.zeros(dense, np.int64),
        )


@dataclass
class LogStatistics:
    """Counts for all days.

    Attributes:
        columns: columns of the log.
        days: counts of each day, in order.
        histogram: histogram of the dense values in all rows that were read, ``[N, DENSE_BINS]``.
        moments: moments over the kept training rows, for the columns that are standardized.
    """

    columns: Columns
    days: list[DayStatistics]
    histogram: Counts
    moments: Moments

    @classmethod
    def nothing(cls, columns: Columns, num_days: int) -> Self:
        """Return zero counts."""
        days = [DayStatistics.nothing(columns) for _ in range(num_days)]
        histogram = np.zeros((columns.num_dense, DENSE_BINS), np.int64)
        return cls(columns, days, histogram, Moments.nothing(columns))

    def add(self, number: int, counted: Counted) -> None:
        """Add the counts that a thread made for a day; its rows are counted elsewhere, in order."""
        day = self.days[number]
        day.clicks += counted.clicks
        day.missing += counted.missing
        for dense, column in enumerate(self.columns.dense):
            day.grouped[dense] += grouped(column, counted.histogram[dense])
        np.maximum(day.largest, counted.largest, out=day.largest)
        self.histogram += counted.histogram


def add_part(whole: LogStatistics, part: LogStatistics) -> None:
    """Add the counts of part of a log; the moments, which depend on the chunks, are not added."""
    for day, more in zip(whole.days, part.days, strict=True):
        day.missing += more.missing
        day.grouped += more.grouped
        np.maximum(day.largest, more.largest, out=day.largest)
        day.rows, day.kept, day.clicks = day.rows + more.rows, day.kept + more.kept, day.clicks + more.clicks
    whole.histogram += part.histogram


def save(statistics: LogStatistics, path: Path) -> None:
    """Write the counts as an npz file."""
    days = statistics.days
    with path.open("wb") as handle:
        np.savez_compressed(
            handle,
            numbers=np.array([[day.rows, day.kept, day.clicks] for day in days], np.int64),
            missing=np.stack([day.missing for day in days]),
            grouped=np.stack([day.grouped for day in days]),
            largest=np.stack([day.largest for day in days]),
            histogram=statistics.histogram,
            moments=statistics.moments.numbers,
        )


def load(path: Path, columns: Columns) -> LogStatistics:
    """Read the counts of a log with these columns that ``save`` wrote."""
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
        arrays = [archive[name] for name in ("missing", "grouped", "largest", "numbers")]
        histogram, moments = archive["histogram"], archive["moments"]
    days = [
        DayStatistics(missing, groups, largest, int(numbers[0]), int(numbers[1]), int(numbers[2]))
        for missing, groups, largest, numbers in zip(*arrays, strict=True)
    ]
    return LogStatistics(columns, days, histogram, Moments(moments))
