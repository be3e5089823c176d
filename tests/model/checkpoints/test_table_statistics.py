from __future__ import annotations

import math

import pytest
import torch

from dlrm_pl.model.checkpoints.table_statistics import describe_rows, sampled_rows


@pytest.mark.parametrize("rows", [1, 7, 512, 513, 10_000, 40_000_000])
def test_samples_are_rows_of_the_table_spread_over_it(rows: int) -> None:
    sample = sampled_rows(rows)
    assert len(sample) == min(rows, 512)
    assert len(sample.unique()) == len(sample)
    assert sample.min() == 0
    assert sample.max() == rows - 1


def test_norms_and_peaks_are_those_of_the_rows() -> None:
    rows = torch.tensor([[3.0, 4.0, 0.0, 0.0], [2.0, 2.0, 2.0, -2.0], [0.0, 0.0, 0.0, 10.0]])
    found = describe_rows(rows)
    assert found.mean_norm == pytest.approx((5 + 4 + 10) / 3)
    assert found.max_norm == 10
    assert found.peak == pytest.approx(4 / 2.5)  # Those of the three rows: 1.6, 1 and 2.
    assert found.max_peak == pytest.approx(2)
    assert found.nonfinite_rows == 0


def test_rows_that_are_not_finite_are_counted_and_left_out() -> None:
    rows = torch.tensor([[1.0, 1.0], [math.nan, 5.0], [math.inf, 0.0], [0.0, 0.0]])
    found = describe_rows(rows)
    assert (found.rows, found.nonfinite_rows) == (4, 2)
    assert found.max_norm == pytest.approx(math.sqrt(2))
    assert describe_rows(rows[1:3]).mean_norm == 0
