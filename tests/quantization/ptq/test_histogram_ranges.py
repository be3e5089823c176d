"""Ranges from histograms, compared with slow pure Python versions, and their purpose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.quantization.ptq import torch_ao
from dlrm_pl.quantization.ptq.histogram_ranges import divergence, kl_range, percentile_range
from tests.support.examples import examples

LEVELS = 256


def slow_divergence(counts: list[float], end: int) -> float:
    """Follow the definition: clamp, merge into 256 levels, spread over the nonempty bins, compare."""
    reference = list(counts[:end])
    reference[-1] += sum(counts[end:])
    levels: list[list[int]] = [[] for _ in range(LEVELS)]
    for index in range(end):
        levels[index * LEVELS // end].append(index)
    spread = [0.0] * end
    for members in levels:
        total, filled = sum(counts[i] for i in members), [i for i in members if counts[i] > 0]
        for index in filled:
            spread[index] = total / len(filled)
    if not sum(spread):
        return math.inf
    result = 0.0
    for p, q in zip(reference, spread, strict=True):
        if p > 0:
            p_share, q_share = p / sum(reference), max(q / sum(spread), 1e-12)
            result += p_share * math.log(p_share / q_share)
    return result


@settings(max_examples=examples(25))
@given(seed=st.integers(0, 2**16), bins=st.integers(257, 700), data=st.data())
def test_divergence_equals_its_definition(seed: int, bins: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2 * np.exp(-np.arange(bins) / 90)).astype(float)
    end = data.draw(st.integers(LEVELS, bins))
    assert divergence(counts, end) == pytest.approx(slow_divergence(list(counts), end), rel=1e-9, abs=1e-12)


def test_kl_keeps_the_end_of_least_divergence_among_all() -> None:
    """It is searched in 128 steps, so its divergence is only approximately the best."""
    rng = np.random.default_rng(0)
    counts, edges = np.histogram(np.abs(rng.laplace(size=50_000)), bins=600, range=(0, 14))
    counts[0] = min(counts[0], counts[1])  # The search treats the bin of zero this way.
    low, high = kl_range(counts, 0.0, 14.0)
    end = round(high / (edges[1] - edges[0]))
    best = min(slow_divergence(list(counts.astype(float)), n) for n in range(LEVELS, 601, 12))
    assert low == 0.0
    assert high < 14
    assert divergence(counts, end) <= 1.1 * best + 1e-6


def test_zeros_do_not_draw_the_range_of_kl_to_themselves() -> None:
    rng = np.random.default_rng(0)
    counts, _ = np.histogram(rng.uniform(0, 10, 50_000), bins=2048, range=(0, 10))
    spiked = counts.copy()
    spiked[0] = 10_000_000
    assert kl_range(spiked, 0.0, 10.0) == kl_range(counts, 0.0, 10.0)


def test_kl_cuts_both_ends_of_a_two_sided_range() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=100_000), [-40.0, 40.0]])
    counts, _ = np.histogram(values, bins=2048, range=(-40, 40))
    low, high = kl_range(counts, -40.0, 40.0)
    assert -15 < low < -3
    assert 3 < high < 15


@settings(max_examples=examples(30))
@given(seed=st.integers(0, 2**16), tail=st.sampled_from([0.001, 0.01, 0.1]))
def test_percentile_leaves_out_as_many_values_as_it_says(seed: int, tail: float) -> None:
    values = np.random.default_rng(seed).normal(size=20_000)
    low, high = values.min(), values.max()
    counts, _ = np.histogram(values, bins=2048, range=(low, high))
    found_low, found_high = percentile_range(counts, float(low), float(high), tail)
    # By rank: between two outlying values, any point is an equally good quantile.
    shares = (values < found_low).mean(), (values > found_high).mean()
    assert np.abs(np.array(shares) - tail).max() <= (counts.max() + 1) / len(values)
    assert shares == pytest.approx((tail, tail), rel=0.3)


def test_percentile_of_no_tail_is_the_whole_range_and_of_a_spike_the_spike() -> None:
    counts = np.array([0, 5, 0, 0, 1])
    assert percentile_range(counts, 0.0, 5.0, 0.0) == (0.0, 5.0)
    low, high = percentile_range(np.array([0, 1_000_000, 0, 0, 1]), 0.0, 5.0, 1e-4)
    assert 1.0 <= low < high <= 2.0


@pytest.mark.parametrize("name", ["kl", "percentile"])
def test_observer_gives_the_step_of_its_range(name: str) -> None:
    x = torch.randn(4, 50_000, generator=torch.Generator().manual_seed(0)).pow(5)
    observer = torch_ao.OBSERVERS[name](dtype=torch.quint8, qscheme=torch.per_tensor_affine)  # type: ignore[index,call-arg]
    for part in x:
        observer(part)
    scale, _ = observer.calculate_qparams()
    counts = observer.histogram.double().numpy()  # type: ignore[union-attr,operator]
    assert counts.sum() == pytest.approx(x.numel(), rel=1e-3)
    search = {"kl": kl_range, "percentile": percentile_range}[name]
    low, high = search(counts, float(x.min()), float(x.max()))
    assert float(scale) == pytest.approx((high - low) / 255, rel=1e-5)
    assert high - low < float(x.max() - x.min())
