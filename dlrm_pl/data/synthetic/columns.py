"""Distributions of the columns of synthetic click logs: the marginals of Criteo's logs.

Source: counts on a 0.3 % uniform sample (137,139 rows) of Criteo's 2014 challenge week, and that week's table sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlrm_pl.data.formats.criteo_counts import NUM_DENSE, NUM_SPARSE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DENSE_MISSING_RATE = (0.451, 0.0, 0.213, 0.214, 0.026, 0.223, 0.043, 0.001, 0.043, 0.451, 0.043, 0.765, 0.214)
"""Share of empty fields of I1..I13. Columns of the same share are empty together, as in the logs."""

SPARSE_MISSING_RATE = (
    0.0, 0.0, 0.034, 0.034, 0.0, 0.122, 0.0, 0.0, 0.0, 0.0, 0.0, 0.034, 0.0,
    0.0, 0.0, 0.034, 0.0, 0.0, 0.442, 0.442, 0.034, 0.761, 0.0, 0.034, 0.442, 0.442,
)  # fmt: skip
"""Share of empty fields of C1..C26. Columns of the same share are empty together, as in the logs."""

DENSE_MEDIAN = (1, 3, 6, 4, 2800, 32, 3, 7, 38, 1, 1, 1, 4)
"""Typical value of I1..I13."""

DENSE_SAMPLE_MAX = (425, 10255, 65535, 349, 2071071, 111105, 6498, 1689, 9465, 7, 123, 193, 1574)
"""Largest value of I1..I13 in the sample; sets the weight of the tail."""

NEGATIVE_ONE_RATE, NEGATIVE_TWO_RATE = 0.10, 0.002
"""Shares of -1 and -2 in I2, the only column of the logs that goes below zero."""
NEGATIVE_COLUMN = 1

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

Large tables have the values of the whole week, and an exponent that reproduces the number of distinct values in the
sample. Tables with fewer than 60 values in the sample have those, and an exponent with which a sample has all of them.
"""

MISSING_RANK = -1
"""Rank that stands for an empty field."""

MISSING_DENSE = np.iinfo(np.int32).min
"""Dense value that stands for an empty field; no log has this value."""

HASH_CYCLE = 40_000_000
"""MLPerf's max_ind_range. Hashes of one table differ modulo this number too, so preprocessing keeps them apart."""
_HASH_PRIME = 39_999_983  # The largest prime below the cycle: multiplication modulo it is a bijection.
_HASH_LAYERS = 107  # 107 cycles fit below 2**32.

_LOGISTIC_SAMPLE_MAX = 11.83  # log(n - 1) for the n = 137,139 rows of the sample.


@dataclass(frozen=True)
class Columns:
    """Rows of a log before hashing and formatting.

    Attributes:
        dense: ``[N, B]``; ``MISSING_DENSE`` where the field is empty.
        ranks: ``[T, B]``, 0 for the most frequent value of its table; ``MISSING_RANK`` where the field is empty.
    """

    dense: Integers
    ranks: Integers


def draw_columns(rng: np.random.Generator, num_rows: int, table_sizes: tuple[int, ...]) -> Columns:
    """Draw independent rows with the marginals of the logs.

    Only uniform 53-bit numbers are drawn and only float64 is computed, so that the same generator gives the same
    rows with any version of NumPy: its stream of raw bits is frozen, that of its other distributions is not.
    """
    dense = np.empty((NUM_DENSE, num_rows), dtype=np.int64)
    for column, (median, spread) in enumerate(zip(DENSE_MEDIAN, dense_spread(), strict=True)):
        uniform = rng.random(num_rows)
        odds = np.maximum(uniform, 2.0**-53) / (1.0 - uniform)
        # Log-logistic: its tail is a power law, and its quantile function is cheap.
        value = (1.0 + median) * odds**spread - 0.5
        dense[column] = np.minimum(value, np.iinfo(np.int32).max)
    uniform = rng.random(num_rows)
    dense[NEGATIVE_COLUMN][uniform < NEGATIVE_ONE_RATE + NEGATIVE_TWO_RATE] = -1
    dense[NEGATIVE_COLUMN][uniform < NEGATIVE_TWO_RATE] = -2
    _empty_together(rng, dense, DENSE_MISSING_RATE, MISSING_DENSE)

    ranks = np.empty((NUM_SPARSE, num_rows), dtype=np.int64)
    for table, size in enumerate(table_sizes):
        exponent = CATEGORIES[table][1]
        # Inverse of the integral of x**-exponent from 1 to size + 1.
        whole = (size + 1.0) ** (1.0 - exponent) - 1.0
        value = (1.0 + whole * rng.random(num_rows)) ** (1.0 / (1.0 - exponent))
        ranks[table] = np.minimum(value - 1.0, size - 1.0)
    _empty_together(rng, ranks, SPARSE_MISSING_RATE, MISSING_RANK)
    return Columns(dense, ranks)


def table_sizes(max_table_size: int | None) -> tuple[int, ...]:
    """Return the number of values of each table, not counting the empty field, at most ``max_table_size``."""
    return tuple(size if max_table_size is None else min(size, max_table_size) for size, _ in CATEGORIES)


def rank_probability(table: int, size: int, num_ranks: int) -> Floats:
    """Return the probabilities of the first ``num_ranks`` ranks if the field is not empty, ``[num_ranks]``."""
    exponent = CATEGORIES[table][1]
    edges = np.arange(1.0, num_ranks + 2.0) ** (1.0 - exponent)
    probability: Floats = np.diff(edges) / ((size + 1.0) ** (1.0 - exponent) - 1.0)
    return probability


def dense_spread() -> Floats:
    """Return the scale of ``log(1 + x)`` of each dense column in units of the logistic distribution, ``[N]``."""
    log_max = np.log1p(np.array(DENSE_SAMPLE_MAX, dtype=np.float64))
    spread: Floats = (log_max - np.log1p(np.array(DENSE_MEDIAN, dtype=np.float64))) / _LOGISTIC_SAMPLE_MAX
    return spread


def log_over_median(dense: Integers) -> Floats:
    """Return ``log(1 + x)`` of recorded dense values (none negative), less that of the median, ``[N, B]``."""
    logarithm: Floats = np.log1p(dense.astype(np.float64))
    return logarithm - np.log1p(np.array(DENSE_MEDIAN, dtype=np.float64))[:, None]


class CategoryHash:
    """A seeded injective map from each table's ranks to 32-bit hashes that look like those of the logs.

    Hashes of one table are distinct, also modulo ``HASH_CYCLE``, and never 0, which stands for the empty field.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._multiplier = 1 + (rng.random(NUM_SPARSE) * (_HASH_PRIME - 1)).astype(np.int64)
        self._offset = (rng.random(NUM_SPARSE) * _HASH_PRIME).astype(np.int64)

    def __call__(self, table: int, ranks: Integers) -> Integers:
        """Return the hashes of ``ranks`` of one table, 0 for ``MISSING_RANK``; same shape."""
        # Products stay below 2**52.
        slot = (ranks * self._multiplier[table] + self._offset[table]) % _HASH_PRIME
        layer = (slot * 2654435761 >> 20) % _HASH_LAYERS
        return np.where(ranks == MISSING_RANK, 0, 1 + slot + HASH_CYCLE * layer)


def _empty_together(rng: np.random.Generator, columns: Integers, rates: tuple[float, ...], missing: int) -> None:
    """Overwrite fields with ``missing``, in the same rows for all columns with the same rate."""
    for rate in sorted(set(rates) - {0.0}):
        empty = rng.random(columns.shape[1]) < rate
        for column, column_rate in enumerate(rates):
            if column_rate == rate:
                columns[column][empty] = missing
