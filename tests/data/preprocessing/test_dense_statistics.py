"""Bins and moments of dense values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS
from dlrm_pl.data.preprocessing.statistics.dense_bins import NUM_GROUPS, bins_of, grouped, histogram_of
from dlrm_pl.data.preprocessing.statistics.moments import Moments

COUNTED = DenseColumn(name="views")
SIGNED = DenseColumn(name="offset", transform="none")
FLOAT = DenseColumn(name="price", type="float", transform="standardize")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_bins_of_floats_are_in_their_order(values: list[float]) -> None:
    bins = bins_of(FLOAT, np.sort(np.array(values, np.float32)))
    assert (np.diff(bins) >= 0).all()
    assert bins.min() >= 0
    assert bins.max() < DENSE_BINS


@pytest.mark.parametrize("column", [COUNTED, SIGNED, FLOAT])
def test_groups_have_all_values(column: DenseColumn) -> None:
    values = np.concatenate([np.arange(-50, 50), [-(2**31), 2**31 - 1, 5000]])
    groups = grouped(column, histogram_of(column, values))
    assert groups.shape == (NUM_GROUPS,)
    assert groups.sum() == len(values)


def test_values_around_0_are_in_groups_of_their_own() -> None:
    groups = [grouped(FLOAT, histogram_of(FLOAT, np.array([value]))).argmax() for value in (-200, -5, 0, 5, 50, 1e7)]
    assert sorted(set(groups)) == groups
    same = [bins_of(FLOAT, np.array([value]))[0] for value in (0.0, -0.0)]
    assert same[0] == same[1]


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=8), max_size=6))
def test_moments_of_chunks_are_those_of_all_values(chunks: list[list[float]]) -> None:
    columns = Columns("click", (COUNTED, FLOAT), (SparseColumn(name="site"),))
    moments = Moments.nothing(columns)
    for chunk in chunks:
        part = Moments.nothing(columns)
        part.set(1, np.array(chunk))
        moments.add(part)
    values = np.array([value for chunk in chunks for value in chunk])
    found = moments.statistics(columns)
    assert list(found) == ["price"]
    mean, deviation = found["price"]
    expected = values.std() if len(values) else 0
    assert mean == pytest.approx(values.mean() if len(values) else 0, abs=1e-3)
    assert deviation == pytest.approx(expected, abs=1e-3) or (deviation == 1 and expected < 1e-3)
