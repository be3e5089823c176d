"""Means in a bounded number of bins: thinned evenly, without losing an extreme."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.curves.bins import MOST_BINS, Bins


@settings(deadline=None)
@given(
    parts=st.lists(st.integers(1, 40), max_size=200),
    seed=st.integers(0, 2**16),
)
def test_bins_are_the_means_of_equally_many_consecutive_values(parts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=sum(parts))
    bins, done = Bins(), 0
    for count in parts:
        bins.extend(values[done : done + count].tolist(), first=done + 1, last=done + count)
        done += count
    assert len(bins) <= MOST_BINS
    assert bins.is_sound()
    groups = [values[first : first + bins.width] for first in range(0, len(values), bins.width)]
    assert [bin.mean for bin in bins] == pytest.approx([group.mean() for group in groups])
    assert [bin.low for bin in bins] == [group.min() for group in groups]
    assert [bin.high for bin in bins] == [group.max() for group in groups]
    ends = [min(len(values), first + bins.width) for first in range(0, len(values), bins.width)]
    assert [bin.step for bin in bins] == pytest.approx(ends)


def test_a_single_spike_of_a_million_values_is_kept() -> None:
    bins, losses = Bins(), [0.5] * 1000
    for number in range(1000):
        spiked = [*losses[:-1], 9.0] if number == 123 else losses
        bins.extend(spiked, first=1000 * number + 1, last=1000 * number + 1000)
    assert len(bins) <= MOST_BINS
    (spike,) = [bin for bin in bins if bin.high == 9.0]
    assert abs(spike.step - 124_000) < bins.width


def test_weights_of_single_values_make_a_weighted_mean() -> None:
    bins = Bins(width=2, filled=2)
    bins.add(10.0, step=1, weight=1.0)
    bins.add(40.0, step=2, weight=3.0)
    (found,) = bins
    assert found == (2, (10 * 1 + 40 * 3) / 4, 10.0, 40.0)


def test_fewer_bins_for_a_picture_have_all_values() -> None:
    bins = Bins()
    count = 2 * MOST_BINS + 3
    bins.extend([float(n) for n in range(count)], first=0, last=count - 1)
    assert bins.filled < bins.width
    drawn = bins.at_most(100)
    assert 50 <= len(drawn) <= 100
    assert {bin.high - bin.low for bin in [*drawn][:-1]} == {drawn.width - 1}
    assert next(iter(drawn)).low == 0
    last = [*drawn][-1]
    assert (last.step, last.high) == (count - 1, count - 1)
    assert last.mean == (last.low + last.high) / 2
    assert sum(drawn.weights) == count
    assert len(bins) > 100
    assert len(Bins().at_most(10)) == 0
    single = Bins(width=4, filled=4)
    single.add(1.0, step=1)
    assert [bin.mean for bin in single.at_most(10)] == [1.0]


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"filled": 9},
        {"steps": [1.0, 2.0]},
        {"totals": [math.nan]},
        {"weights": [0.0]},
        {"highs": [math.inf]},
    ],
)
def test_damaged_bins_are_not_sound(change: dict[str, object]) -> None:
    bins = Bins()
    bins.add(1.0, step=1)
    assert Bins(**bins.to_dict()).is_sound()
    assert not Bins(**bins.to_dict() | change).is_sound()  # type: ignore[arg-type]
