"""Distributions of the columns of synthetic click logs: the marginals of Criteo's logs.

Other logs use them in the same order: their first dense column has the distribution of I1, their first sparse column
that of C1, and so on.
Source: counts on a 0.3 % uniform sample (137,139 rows) of Criteo's 2014 challenge week, and that week's table sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns

Floats = npt.NDArray[np.float64]
T = TypeVar("T")

DENSE_MISSING_RATE = (0.451, 0.0, 0.213, 0.214, 0.026, 0.223, 0.043, 0.001, 0.043, 0.451, 0.043, 0.765, 0.214)
"""Share of empty fields of I1..I13. Columns with the same share are empty together, as in the logs."""

SPARSE_MISSING_RATE = (
    0.0, 0.0, 0.034, 0.034, 0.0, 0.122, 0.0, 0.0, 0.0, 0.0, 0.0, 0.034, 0.0,
    0.0, 0.0, 0.034, 0.0, 0.0, 0.442, 0.442, 0.034, 0.761, 0.0, 0.034, 0.442, 0.442,
)  # fmt: skip
"""Share of empty fields of C1..C26. Columns with the same share are empty together, as in the logs."""

DENSE_MEDIAN = (1, 3, 6, 4, 2800, 32, 3, 7, 38, 1, 1, 1, 4)
"""Typical values of I1..I13."""

DENSE_SAMPLE_MAX = (425, 10255, 65535, 349, 2071071, 111105, 6498, 1689, 9465, 7, 123, 193, 1574)
"""Largest value of I1..I13 in the sample; sets the weight of the tail."""

NEGATIVE_ONE_RATE, NEGATIVE_TWO_RATE = 0.10, 0.002
"""Shares of -1 and -2 in I2, the only column of the logs that goes below zero."""
_NEGATIVE_COLUMN = 1

CATEGORIES = (
    (1460, 1.960),
    (583, 1.826),
    (10131226, 1.001),
    (2202607, 1.115),
    (305, 2.580),
    (11, 1.1),
    (12517, 1.166),
    (633, 2.257),
    (3, 1.1),
    (93145, 1.216),
    (5683, 1.329),
    (8351592, 1.019),
    (3194, 1.291),
    (26, 1.1),
    (14992, 1.337),
    (5461305, 1.055),
    (10, 1.1),
    (5652, 1.485),
    (2172, 1.551),
    (3, 1.1),
    (7046546, 1.033),
    (12, 1.1),
    (14, 1.1),
    (286180, 1.236),
    (54, 1.1),
    (142571, 1.190),
)
"""(number of values, Zipf exponent) of C1..C26, the empty field not counted.

Large tables have as many values as the whole week has, and an exponent that reproduces the number of distinct values in
the sample. Tables with fewer than 60 values in the sample have just these values, and an exponent with which a sample
contains all of them.
"""

TASTE_TABLES = (5, 8, 13)
"""Tables of Criteo's logs (C6, C9, C14) whose values have a taste."""
TOPIC_TABLES = (16, 19, 22)
"""Tables of Criteo's logs (C17, C20, C23) whose values have a topic."""

NULL_RATE = 0.02
"""Share of missing elements in lists."""

_LOGISTIC_SAMPLE_MAX = 11.83  # log(n - 1) for the n = 137,139 rows of the sample.
_MOST_PAIR_TABLES = 6


@dataclass(frozen=True)
class Marginals:
    """Distributions of the columns of a log.

    Attributes:
        columns: the columns.
        dense_missing: share of missing values of each dense column.
        median: typical value of each dense column, ``[N]``.
        spread: scale of ``log(1 + x)`` of each dense column in units of the logistic distribution, ``[N]``.
        below_zero: numbers of the dense columns that have negative values.
        sparse_missing: share of missing values of each sparse column; for lists, the share of lists that are missing as
            a whole.
        sizes: number of values of each sparse column, not counting the missing one.
        exponents: Zipf exponent of each sparse column.
    """

    columns: Columns
    dense_missing: tuple[float, ...]
    median: Floats
    spread: Floats
    below_zero: tuple[int, ...]
    sparse_missing: tuple[float, ...]
    sizes: tuple[int, ...]
    exponents: tuple[float, ...]

    def rank_fields(self, table: int) -> slice:
        """Return the positions of a table's elements in drawn ranks."""
        fields, first = self.columns.table_fields[table], self.columns.sparse_fields.start
        return slice(fields.start - first, fields.stop - first)

    def element_missing(self, table: int) -> float:
        """Return the share of missing elements of a table."""
        column, whole = self.columns.sparse[table], self.sparse_missing[table]
        if not column.is_list:
            return whole
        return NULL_RATE if column.at_most is not None else 1.0 - (1.0 - whole) * (1.0 - NULL_RATE)

    def rank_probability(self, table: int, num_ranks: int) -> Floats:
        """Return the probabilities of the first ``num_ranks`` ranks of non-missing elements, ``[num_ranks]``."""
        exponent, size = self.exponents[table], self.sizes[table]
        edges = np.arange(1.0, num_ranks + 2.0) ** (1.0 - exponent)
        probability: Floats = np.diff(edges) / ((size + 1.0) ** (1.0 - exponent) - 1.0)
        return probability

    def pair_tables(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the tables whose values have a taste, and those whose values have a topic: small ones."""
        if self.columns.is_criteo:
            return TASTE_TABLES, TOPIC_TABLES
        rows = [min(size, column.rows or size) for size, column in zip(self.sizes, self.columns.sparse, strict=True)]
        chosen = sorted(range(len(rows)), key=rows.__getitem__)[:_MOST_PAIR_TABLES]
        return tuple(chosen[0::2]), tuple(chosen[1::2])

    def log_over_median(self, dense: Floats) -> Floats:
        """Return ``log(1 + x)`` of non-negative dense values, minus that of the median, ``[N, B]``."""
        logarithm: Floats = np.log1p(dense)
        return logarithm - np.log1p(self.median)[:, None]


def marginals_of(columns: Columns, max_table_size: int | None) -> Marginals:
    """Return the distributions of a log's columns, with at most ``max_table_size`` values in each table."""
    dense, sparse = columns.num_dense, columns.num_sparse
    median = np.array(_in_turn(DENSE_MEDIAN, dense), dtype=np.float64)
    log_max = np.log1p(np.array(_in_turn(DENSE_SAMPLE_MAX, dense), dtype=np.float64))
    categories = _in_turn(CATEGORIES, sparse)
    return Marginals(
        columns=columns,
        dense_missing=_in_turn(DENSE_MISSING_RATE, dense),
        median=median,
        spread=(log_max - np.log1p(median)) / _LOGISTIC_SAMPLE_MAX,
        below_zero=tuple(
            number
            for number, column in enumerate(columns.dense)
            if number % len(DENSE_MEDIAN) == _NEGATIVE_COLUMN and column.type == "integer"
        ),
        sparse_missing=_in_turn(SPARSE_MISSING_RATE, sparse),
        sizes=tuple(size if max_table_size is None else min(size, max_table_size) for size, _ in categories),
        exponents=tuple(exponent for _, exponent in categories),
    )


def _in_turn(values: tuple[T, ...], count: int) -> tuple[T, ...]:
    return tuple(islice(cycle(values), count))
