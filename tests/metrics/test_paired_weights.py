"""The standard error of a paired drop if the few clicks happen to miss the outlying rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation import BinormalPair, bound_errors
from dlrm_pl.metrics.paired import paired_auroc_difference


def rows(size: int, seed: int, levels: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return scores of two models with ties, labels of both classes, and logits of clicks."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    labels[:4] = 0, 1, 0, 1
    first, second = (rng.integers(0, levels, size) / levels for _ in range(2))
    return first, second, labels, rng.normal(size=size)


@settings(deadline=None)
@given(size=st.integers(5, 60), seed=st.integers(0, 2**16))
def test_variance_by_weight_is_that_of_all_rows_as_if_each_were_a_click_in_part(size: int, seed: int) -> None:
    first, second, labels, logits = rows(size, seed)
    added = np.zeros(size)
    for row in range(size):
        for other in np.flatnonzero(labels == 0):
            for sign, scores in ((1, first), (-1, second)):
                added[row] += sign * (0.5 + 0.5 * np.sign(scores[row] - scores[other])) / (labels == 0).sum()
    by_weight = np.cov(added, aweights=1 / (1 + np.exp(-logits)), ddof=0)
    plain = paired_auroc_difference(first, second, labels)
    of_clicks = np.var(added[labels == 1], ddof=1)
    clicks = labels.sum()
    expected = plain.standard_error**2 - of_clicks / clicks + max(of_clicks, by_weight) / clicks
    found = paired_auroc_difference(first, second, labels, click_logits=logits)
    assert found.standard_error**2 == pytest.approx(expected, abs=1e-12)
    assert found.difference == plain.difference


def test_clicks_too_improbable_for_float64_weigh_as_those_do_that_are_not() -> None:
    """Far below 0 the probability is the exponential of the logit, so a shift multiplies all weights by a factor."""
    first, second, labels, logits = rows(60, 1)
    one, other = (
        paired_auroc_difference(first, second, labels, click_logits=logits + shift).standard_error
        for shift in (-50.0, -1000.0)
    )
    assert one == pytest.approx(other, rel=1e-9)


def test_many_rows_are_sampled_evenly() -> None:
    """Beyond 65,536 rows, a sample represents all rows."""
    first, second, labels = BinormalPair(0.8, 0.002, 0.3, 0.01, 100.0).draw(np.random.default_rng(3), 300_000)
    plain = paired_auroc_difference(first, second, labels)
    weighted = paired_auroc_difference(first, second, labels, click_logits=first)
    assert plain.standard_error <= weighted.standard_error < 1.05 * plain.standard_error


def test_bounds_hold_where_one_row_in_some_hundreds_is_far_off() -> None:
    """Each bound may err in 2.5 % of 300 samples. Based on clicks alone, the upper one errs about twice as often."""
    pair = BinormalPair(auroc=0.81, drop=0.0008, label_rate=0.1, outlier_share=0.003, outlier_factor=1000.0)
    wrong = bound_errors(pair, rows=3000, error=0.025, samples=300, seed=11)
    assert max(wrong["weight"]) <= 8
    assert wrong["clicks"][0] > 8


def test_simulated_outliers_have_the_stated_drop() -> None:
    pair = BinormalPair(auroc=0.8, drop=0.01, label_rate=0.3, outlier_share=0.05, outlier_factor=100.0)
    found = paired_auroc_difference(*pair.draw(np.random.default_rng(0), 400_000))
    assert found.difference == pytest.approx(0.01, abs=4 * found.standard_error)


def test_simulated_probabilities_are_calibrated() -> None:
    """They are used as the weights of the rows."""
    logits, _, labels = BinormalPair(0.8, 0.0, 0.1).draw(np.random.default_rng(0), 400_000)
    first = 1 / (1 + np.exp(-logits))
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 1.0)):
        inside = (first >= low) & (first < high)
        assert first[inside].mean() == pytest.approx(labels[inside].mean(), rel=0.03)
