from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.synthetic.best_auroc import BestAUROC, auroc_of_bins, expected_auroc


def auroc_by_pairs(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Return the share of (positive, negative) pairs in the right order; ties count half."""
    above = positives[:, None] > negatives[None, :]
    equal = positives[:, None] == negatives[None, :]
    return float((above + 0.5 * equal).mean())


@given(
    counts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8).filter(
        lambda counts: sum(p for p, _ in counts) > 0 and sum(n for _, n in counts) > 0
    )
)
@settings(deadline=None)
def test_bins_give_the_share_of_ordered_pairs(counts: list[tuple[int, int]]) -> None:
    positives, negatives = np.array(counts, dtype=np.float64).T
    bins = np.arange(len(counts))
    expected = auroc_by_pairs(np.repeat(bins, positives.astype(int)), np.repeat(bins, negatives.astype(int)))
    assert auroc_of_bins(positives, negatives) == pytest.approx(expected, abs=1e-12)


def test_one_class_alone_has_no_auroc() -> None:
    assert math.isnan(auroc_of_bins(np.array([1.0, 2.0]), np.zeros(2)))


def test_the_expected_auroc_is_the_mean_over_labels() -> None:
    rng = np.random.default_rng(0)
    probability = np.sort(rng.random(4000) ** 3)
    drawn = []
    for _ in range(40):
        label = rng.random(4000) < probability
        drawn.append(auroc_of_bins(label.astype(np.float64), (~label).astype(np.float64)))
    # Standard error of the mean of 40 AUROCs that scatter by 0.007.
    assert expected_auroc(probability) == pytest.approx(np.mean(drawn), abs=0.004)


@pytest.mark.untraced
def test_the_streamed_auroc_is_that_of_all_rows() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(-3, 1.5, 20_000)
    label = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    best = BestAUROC()
    for part in np.array_split(np.arange(20_000), 7):
        best.add(logit[part], label[part])
    assert best.rows == 20_000
    assert best.positives == label.sum()
    assert best.compute() == pytest.approx(auroc_by_pairs(logit[label], logit[~label]), abs=1e-5)


def test_logits_beyond_the_bins_count_in_the_outermost() -> None:
    best = BestAUROC()
    best.add(np.array([-1e9, 1e9]), np.array([False, True]))
    assert best.compute() == 1.0
