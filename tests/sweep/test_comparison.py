"""Whether a gain exceeds the noise between seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dlrm_pl.sweep.comparison import Comparison
from dlrm_pl.sweep.search import Repeated
from dlrm_pl.sweep.trial import Trial


@pytest.mark.parametrize("count", [2, 3, 6, 11, 30])
def test_the_interval_is_that_of_a_paired_t_test(count: int) -> None:
    generator = np.random.default_rng(count)
    given = generator.normal(0.7, 0.01, count)
    best = given + generator.normal(0.01, 0.003, count)
    compared = Comparison(tuple(range(count)), tuple(best), tuple(given))
    interval = stats.ttest_rel(best, given).confidence_interval(0.95)
    assert compared.gain == pytest.approx(np.mean(best - given))
    assert compared.gain - compared.half_width <= interval.low + 1e-6
    # The table of quantiles ends at 10 degrees of freedom; beyond that the interval is a little too wide.
    assert compared.half_width == pytest.approx((interval.high - interval.low) / 2, rel=1e-3 if count <= 11 else 0.1)
    assert compared.exceeds_noise == (compared.gain - compared.half_width > 0)
    assert compared.noise == pytest.approx(np.std(given, ddof=1))


def test_pairs_of_which_one_failed_are_left_out() -> None:
    def trained(seed: int, auroc: float, state: str = "complete") -> Trial:
        return Trial(1, {}, state, {1: auroc}, seed=seed)  # type: ignore[arg-type]

    given = tuple(trained(seed, 0.6 + seed / 100) for seed in (1, 2, 3))
    best = (trained(1, 0.7), trained(2, 0.8, "failed"), trained(3, 0.75))
    compared = Comparison.of(Repeated(best, given))
    assert compared == Comparison((1, 3), (0.7, 0.75), (0.61, 0.63))
    assert Comparison.of(Repeated(best[:2], given[:2])) is None
    assert Comparison.of(Repeated()) is None


def test_what_is_said_follows_from_the_interval() -> None:
    clear = str(Comparison((1, 2, 3), (0.71, 0.72, 0.73), (0.61, 0.62, 0.631)))
    assert "is more than the noise between seeds" in clear
    unclear = str(Comparison((1, 2, 3), (0.71, 0.62, 0.73), (0.61, 0.69, 0.631)))
    assert "noise between seeds may explain" in unclear
    assert "The given settings are the best" in str(Comparison((1, 2), (0.6, 0.7), (0.6, 0.7)))
