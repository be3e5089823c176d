"""Rounds, percentiles, intervals and ratios, on a clock that only the contenders advance."""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Sequence

import pytest

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.timer import _timing, median_interval, time_in_turn
from tests.support import tiny

BATCHES = tiny.batches(3, 4)


class Clock:
    """A clock, and contenders that take the time they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(self, name: str, *seconds: float):  # type: ignore[no-untyped-def]
        def score(batch: ClickBatch) -> None:
            self.now += seconds[self.log.count(name) % len(seconds)]
            self.log.append(name)

        return score


def test_ratio_is_paired_round_by_round() -> None:
    clock = Clock()
    # In some rounds the machine runs at half speed for both contenders: the ratio stays 4 in each.
    slow = clock.contender("slow", *[0.4] * 5, *[0.8] * 5)
    fast = clock.contender("fast", *[0.1] * 5, *[0.2] * 5)
    timings = time_in_turn({"slow": slow, "fast": fast}, BATCHES, baseline="slow", seconds=5, clock=clock)
    assert timings["fast"].ratio == pytest.approx(4)
    assert timings["fast"].ratio_interval == pytest.approx((4, 4))
    assert timings["slow"].ratio == 1
    assert timings["slow"].samples_per_s == pytest.approx(4 / (timings["slow"].p50_ms / 1e3))


def test_contenders_take_turns_in_changing_order() -> None:
    clock = Clock()
    contenders = {name: clock.contender(name, 1.0) for name in "abc"}
    time_in_turn(contenders, BATCHES, baseline="a", seconds=0.1, clock=clock)
    rounds = "".join(clock.log[6:])  # Each contender is first called twice to warm up.
    assert rounds == "abcbcacab" * 2


def test_short_calls_fill_a_slice_after_one_that_is_not_counted() -> None:
    clock = Clock()
    timings = time_in_turn({"a": clock.contender("a", 0.0099)}, BATCHES, baseline="a", seconds=0.4, clock=clock)
    assert timings["a"].rounds == 7  # Of 5 calls plus an uncounted one, after two warm-up calls, until 0.4 s are over.
    assert timings["a"].calls == 7 * 5
    assert len(clock.log) == 2 + 7 * 6


def test_time_is_bounded_by_the_budget_or_six_rounds() -> None:
    clock = Clock()
    pair = {"a": clock.contender("a", 0.5), "b": clock.contender("b", 1.5)}
    assert time_in_turn(pair, BATCHES, baseline="a", seconds=0.1, clock=clock)["a"].rounds == 6
    began = clock.now
    time_in_turn(pair, BATCHES, baseline="a", seconds=20, clock=clock)
    assert 40 <= clock.now - began <= 40 + 2 + 2  # The budget of both contenders, plus one round at most.


def test_no_garbage_is_collected_meanwhile() -> None:
    seen = []
    time_in_turn({"a": lambda batch: seen.append(gc.isenabled())}, BATCHES, baseline="a", seconds=0.001)
    assert not any(seen)
    assert gc.isenabled()


@pytest.mark.parametrize(("calls", "p90", "p99"), [(range(1, 101), 90, 99), ([3.0], 3, 3), ([1.0, 2.0], 2, 2)])
def test_percentiles_are_times_that_were_measured(calls: Sequence[float], p90: float, p99: float) -> None:
    timing = _timing(1, list(calls), [1.0], [1.0])
    assert (timing.p90_ms, timing.p99_ms) == (1e3 * p90, 1e3 * p99)


def test_median_interval_of_few_values_is_their_range() -> None:
    assert median_interval([2.0]) == (2, 2)
    assert median_interval([3.0, 1.0, 2.0]) == (1, 3)
    assert median_interval([float(n) for n in range(6)]) == (0, 5)


def test_median_interval_matches_the_table_of_order_statistics() -> None:
    # n = 10: the 2nd and 9th value, 97.9 %; n = 20: the 6th and 15th, 95.9 %; n = 100: the 40th and 61st, 96.5 %.
    for count, ranks in ((10, (2, 9)), (20, (6, 15)), (100, (40, 61))):
        assert median_interval([float(n) for n in range(1, count + 1)]) == ranks


def test_median_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = random.Random(0)
    true = statistics.NormalDist(0, 1).inv_cdf(0.5)
    intervals = (median_interval([rng.gauss(0, 1) for _ in range(25)]) for _ in range(2000))
    covered = sum(low <= true <= high for low, high in intervals)
    assert covered / 2000 > 0.94
