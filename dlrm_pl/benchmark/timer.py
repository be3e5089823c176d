"""Time several functions in turn: warm-up, slices, percentiles, and distribution-free intervals."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from dlrm_pl.batch import ClickBatch

Scorer = Callable[[ClickBatch], Any]

# A slice is long enough for caches and branch predictors to adapt to one contender, as they do when it serves alone,
# and short enough that a change in the machine's speed affects all contenders.
_SLICE_S = 0.05
_MAX_CALLS_OF_A_SLICE = 500
# With six values or more, the range from the smallest to the largest contains the median with 95 % confidence.
_MIN_ROUNDS = 6


@dataclass(frozen=True)
class Timing:
    """The timing of one contender at one batch size.

    Attributes:
        samples_per_s: batch size over the median time.
        p50_ms: median time of a call.
        p90_ms: time that nine of ten calls do not exceed.
        p99_ms: time that 99 of 100 calls do not exceed; the slowest call if there are fewer than 100.
        interval_ms: 95 % interval of the median over rounds, from order statistics.
        ratio: speed-up over the baseline, the median over rounds.
        ratio_interval: 95 % interval of ``ratio``.
        calls: number of calls that were timed.
        rounds: number of rounds over which the calls were spread.
    """

    samples_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    interval_ms: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    calls: int
    rounds: int


def time_in_turn(
    contenders: Mapping[str, Scorer],
    batches: Sequence[ClickBatch],
    *,
    baseline: str,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time contenders in rounds, one slice each, so that whatever slows the machine down affects all of them.

    Args:
        contenders: what to call, by name; the order changes from round to round.
        batches: batches of one size; each contender gets them in the same order.
        baseline: name of the contender that the ratios refer to, round by round.
        seconds: average time for each contender, including warm-up. There are always at least six rounds, so slow calls
            take longer.
        clock: clock in seconds; tests pass their own.
    """
    names = list(contenders)
    sources = {name: cycle(batches) for name in names}
    calls: dict[str, list[float]] = {name: [] for name in names}
    rounds: dict[str, list[float]] = {name: [] for name in names}
    began, slice_s = clock(), min(_SLICE_S, seconds / (_MIN_ROUNDS + 2))
    with _no_garbage_collection():
        # Call twice, because the first call may still compile, allocate or read tables from disk.
        guesses = {name: [_time(contenders[name], sources[name], clock) for _ in range(2)][-1] for name in names}
        number = 0
        while number < _MIN_ROUNDS or clock() - began < seconds * len(names):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                times = list(_slice(contenders[name], sources[name], guesses[name], slice_s, clock))
                calls[name] += times
                rounds[name].append(statistics.median(times))
            number += 1
    base = rounds[baseline]
    return {
        name: _timing(
            batches[0].num_samples,
            calls[name],
            rounds[name],
            [theirs / own for theirs, own in zip(base, rounds[name], strict=True)],
        )
        for name in names
    }


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval of the median of the values' distribution; their range if there are few.

    Source: order statistics and the binomial distribution, e.g. David and Nagaraja, Order Statistics, 7.1.
    """
    ordered, count = sorted(values), len(values)
    skipped, outside = 0, 0
    # `skipped` values may be dropped at each end as long as both tails together stay below 1 - confidence.
    while (outside + math.comb(count, skipped)) * 2 <= (1 - confidence) * 2**count:
        outside += math.comb(count, skipped)
        skipped += 1
    first = max(0, skipped - 1)
    return ordered[first], ordered[count - 1 - first]


def _timing(size: int, calls: Sequence[float], rounds: Sequence[float], ratios: Sequence[float]) -> Timing:
    median = statistics.median(calls)
    # "inverted_cdf" gives times that were measured, and never interpolates between two.
    p90, p99 = np.quantile(calls, (0.9, 0.99), method="inverted_cdf").tolist()
    low, high = median_interval(rounds)
    return Timing(
        samples_per_s=size / median,
        p50_ms=1e3 * median,
        p90_ms=1e3 * p90,
        p99_ms=1e3 * p99,
        interval_ms=(1e3 * low, 1e3 * high),
        ratio=statistics.median(ratios),
        ratio_interval=median_interval(ratios),
        calls=len(calls),
        rounds=len(rounds),
    )


def _slice(
    scorer: Scorer, source: Iterator[ClickBatch], guess: float, slice_s: float, clock: Callable[[], float]
) -> Iterator[float]:
    """Time the calls of one slice, after a call that warms the caches if that is cheap."""
    if guess < slice_s:
        _time(scorer, source, clock)
    for _ in range(min(_MAX_CALLS_OF_A_SLICE, max(1, int(slice_s / max(guess, 1e-9))))):
        yield _time(scorer, source, clock)


def _time(scorer: Scorer, source: Iterator[ClickBatch], clock: Callable[[], float]) -> float:
    batch = next(source)
    start = clock()
    scorer(batch)
    return clock() - start


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Stop garbage collection in the block, so that no collection is timed as part of a call."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
