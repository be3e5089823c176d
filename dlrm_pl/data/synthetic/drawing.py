"""Draw independent rows with given marginals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.synthetic.marginals import NEGATIVE_ONE_RATE, NEGATIVE_TWO_RATE, NULL_RATE, Floats, Marginals

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MISSING_RANK = -1
"""Rank that stands for a missing value."""

ABSENT_RANK = -2
"""Rank that pads a list that is shorter than its fields."""

MISSING_DENSE = np.iinfo(np.int32).min
"""Dense value that stands for a missing one; it does not occur in logs."""


@dataclass(frozen=True)
class DrawnColumns:
    """Rows of a log before their values are made.

    Attributes:
        dense: integers, or numbers that fit float32, ``[N, B]``; ``MISSING_DENSE`` if the value is missing.
        ranks: ``[W, B]``, where W is the sum of the widths; 0 for the most frequent value of its table,
            ``MISSING_RANK`` for a missing value. A list is at the beginning of its fields, followed by ``ABSENT_RANK``.
    """

    dense: Floats
    ranks: Integers


def draw_columns(rng: np.random.Generator, num_rows: int, marginals: Marginals) -> DrawnColumns:
    """Draw independent rows.

    Only uniform 53-bit numbers are drawn, and all computations are in float64, so that the same generator gives the
    same rows with any version of NumPy. NumPy's stream of raw bits is frozen, but its other distributions may change.
    """
    return DrawnColumns(_dense(rng, num_rows, marginals), _ranks(rng, num_rows, marginals))


def _dense(rng: np.random.Generator, num_rows: int, marginals: Marginals) -> Floats:
    dense = np.empty((marginals.columns.num_dense, num_rows))
    for number, column in enumerate(marginals.columns.dense):
        uniform = rng.random(num_rows)
        odds = np.maximum(uniform, 2.0**-53) / (1.0 - uniform)
        # Log-logistic: its tail is a power law, and its quantile function is cheap.
        value = (1.0 + marginals.median[number]) * odds ** marginals.spread[number] - 0.5
        value = np.minimum(value, np.iinfo(np.int32).max)
        dense[number] = value.astype(np.float32) if column.type == "float" else np.trunc(value)
    for number in marginals.below_zero:
        uniform = rng.random(num_rows)
        dense[number][uniform < NEGATIVE_ONE_RATE + NEGATIVE_TWO_RATE] = -1
        dense[number][uniform < NEGATIVE_TWO_RATE] = -2

    def empty(number: int, rows: Bools) -> None:
        dense[number][rows] = MISSING_DENSE

    _empty_together(rng, num_rows, marginals.dense_missing, empty)
    return dense


def _ranks(rng: np.random.Generator, num_rows: int, marginals: Marginals) -> Integers:
    columns = marginals.columns
    ranks = np.empty((columns.record_ints - columns.sparse_fields.start, num_rows), dtype=np.int64)
    for table, (size, exponent) in enumerate(zip(marginals.sizes, marginals.exponents, strict=True)):
        # Inverse of the integral of x**-exponent from 1 to size + 1.
        whole = (size + 1.0) ** (1.0 - exponent) - 1.0
        for element in ranks[marginals.rank_fields(table)]:
            value = (1.0 + whole * rng.random(num_rows)) ** (1.0 / (1.0 - exponent))
            element[:] = np.minimum(value - 1.0, size - 1.0)
    for table, column in enumerate(columns.sparse):
        if column.is_list:
            elements = ranks[marginals.rank_fields(table)]
            elements[rng.random(elements.shape) < NULL_RATE] = MISSING_RANK
        if column.at_most is not None:
            lengths = np.floor(rng.random(num_rows) * (column.width + 1))
            elements[np.arange(column.width)[:, None] >= lengths] = ABSENT_RANK

    def empty(table: int, rows: Bools) -> None:
        is_short = columns.sparse[table].at_most is not None
        ranks[marginals.rank_fields(table), rows] = ABSENT_RANK if is_short else MISSING_RANK

    _empty_together(rng, num_rows, marginals.sparse_missing, empty)
    return ranks


def _empty_together(
    rng: np.random.Generator, num_rows: int, rates: tuple[float, ...], empty: Callable[[int, Bools], None]
) -> None:
    """Empty columns in some rows, the same ones for all columns with the same rate."""
    for rate in sorted(set(rates) - {0.0}):
        rows = rng.random(num_rows) < rate
        for column, column_rate in enumerate(rates):
            if column_rate == rate:
                empty(column, rows)
