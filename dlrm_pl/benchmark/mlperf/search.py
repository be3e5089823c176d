"""Find the fastest batch size by measurement, and the highest valid rate by trial runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from dlrm_pl.benchmark.mlperf.harness import Result, Run, Scenario
from dlrm_pl.benchmark.mlperf.samples import LENGTHS, SampleLibrary

# A request waits for the previous batch and for its own; the rest of the bound is left for queueing.
_SHARE_OF_THE_BOUND = 0.25
_BATCH_PAIRS = (700, 1400, 2800, 5600, 11200)
_TRIAL_S = 5.0
_TRIALS = 12


def choose_batch(speeds: dict[int, float], scenario: Scenario, latency_s: float) -> int:
    """Return the fastest batch size; for the server, among those that take at most a quarter of its latency bound.

    Args:
        speeds: pairs per second, by the number of pairs in a batch.
        scenario: MLPerf's scenario; singlestream scores one sample at a time.
        latency_s: the server's latency bound.
    """
    if scenario == "singlestream":
        return LENGTHS[-1]
    bound_s = _SHARE_OF_THE_BOUND * latency_s if scenario == "server" else float("inf")
    allowed = {pairs: speed for pairs, speed in speeds.items() if pairs / speed <= bound_s}
    # If all sizes are too slow, use the smallest.
    return max(allowed, key=lambda pairs: allowed[pairs], default=min(speeds))


def measure_speeds(model: nn.Module, library: SampleLibrary, seconds: float = 0.3) -> dict[int, float]:
    """Measure pairs per second by the number of pairs in a batch, including the time to join the samples."""
    speeds = {}
    loaded = _samples_of(library, max(_BATCH_PAIRS))
    library.load(loaded)
    try:
        for pairs in _BATCH_PAIRS:
            numbers = _samples_of(library, pairs)
            size = sum(library.lengths[number] for number in numbers)
            best, began, calls = float("inf"), time.perf_counter(), 0
            while calls < 3 or time.perf_counter() - began < seconds:
                start = time.perf_counter()
                with torch.inference_mode():
                    model(library.batch(numbers))
                best, calls = min(best, time.perf_counter() - start), calls + 1
            speeds[pairs] = size / best
    finally:
        library.unload(loaded)
    return speeds


def find_valid(
    run: Run,
    execute: Callable[[Run], Result],
    progress: Callable[[str], None] = lambda what: None,
) -> Result:
    """Run at the highest rate found for which the run is valid.

    Args:
        run: settings, with a rate that may be slightly too high for the machine.
        execute: runs a scenario and returns its result.
        progress: called with a description of each try.

    Returns:
        The last run of the full duration, valid or not.
    """
    if run.scenario == "server":
        # Find the rate with short trials, because a full run at a rate that fails is wasted.
        for _ in range(_TRIALS):
            trial = replace(run, duration_s=min(run.duration_s, max(_TRIAL_S, 600 / run.target_qps)))
            progress(f"server, trial at {trial.target_qps:,.0f} samples/s")
            if execute(trial).valid:
                break
            run = replace(run, target_qps=0.85 * run.target_qps)
    for _ in range(3):
        progress(f"{run.scenario}, {run.duration_s:g} s at {run.target_qps:,.0f} samples/s")
        result = execute(run)
        if result.valid:
            break
        # For the server, the rate was too high; in other scenarios, it was so low that the queries ended early.
        factor = 0.9 if run.scenario == "server" else 1.3
        run = replace(run, target_qps=factor * (run.target_qps if run.scenario == "server" else result.samples_per_s))
    return result


def _samples_of(library: SampleLibrary, pairs: int) -> Sequence[int]:
    """Return the numbers of the first samples that together have at most this many pairs; at least one sample."""
    numbers, size = [0], library.lengths[0]
    for number in range(1, library.loaded_at_a_time):
        if size + library.lengths[number] > pairs:
            break
        numbers.append(number)
        size += library.lengths[number]
    return numbers
