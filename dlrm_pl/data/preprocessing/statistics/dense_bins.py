"""Bins of dense values for histograms: one for each small integer, or equal steps of the logarithm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import DenseColumn
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS

Bins = npt.NDArray[np.int64]

# Groups by powers of two: 0, 1, 2-3, 4-7, ..., and all values above DENSE_BINS - 2.
_FIRST_OF_COUNTS = [0, *(1 << power for power in range(DENSE_BINS.bit_length() - 1)), DENSE_BINS - 1]
NUM_GROUPS = len(_FIRST_OF_COUNTS)
"""Number of groups that bins are merged into, to compare days."""

_EDGES = (-1e4, -100, -1, -0.01, 0, 1e-4, 0.01, 0.1, 1, 10, 100, 1e4, 1e6)  # Edges of the groups for other columns.
_BIN_BITS = 12  # Sign, exponent, and the first 3 bits of the fraction of a float32.
_SIGN = np.uint32(1 << 31)


def is_counted(column: DenseColumn) -> bool:
    """Return whether each small value has its own bin, as for integers that are not negative."""
    return column.type == "integer" and column.transform == "log1p"


def bins_of(column: DenseColumn, values: npt.NDArray[np.number]) -> Bins:
    """Return the bins of values, from 0 to DENSE_BINS - 1, in the order of the values."""
    if is_counted(column):
        counts: Bins = np.clip(values, 0, DENSE_BINS - 1).astype(np.int64)
        return counts
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # Adding 0 turns -0 into 0.
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (ordered >> np.uint32(32 - _BIN_BITS)).astype(np.int64)


def bounds_of(bin: int) -> tuple[float, float]:
    """Return the smallest and the largest value of a bin that holds an eighth of a power of two, or less."""
    ordered = (np.array([bin, bin + 1], np.uint64) << np.uint64(32 - _BIN_BITS)) - np.array([0, 1], np.uint64)
    low, high = (int(value) for value in ordered)
    bits = [value & ~int(_SIGN) if value & int(_SIGN) else ~value & 0xFFFFFFFF for value in (low, high)]
    return tuple(np.array(bits, np.uint32).view(np.float32).tolist())


def histogram_of(column: DenseColumn, values: npt.NDArray[np.number]) -> Bins:
    """Return the number of values in each bin, ``[DENSE_BINS]``."""
    return np.bincount(bins_of(column, values), minlength=DENSE_BINS)


def grouped(column: DenseColumn, histogram: Bins) -> Bins:
    """Return a histogram with fewer groups, ``[NUM_GROUPS]``."""
    if is_counted(column):
        return np.add.reduceat(histogram, _FIRST_OF_COUNTS)
    first = [0, *bins_of(column, np.array(_EDGES)).tolist()]
    return np.add.reduceat(histogram, first)


assert 1 << _BIN_BITS == DENSE_BINS
assert 1 + len(_EDGES) == NUM_GROUPS
