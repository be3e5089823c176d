"""The sequential test: its error rates by simulation, and its looks one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulation import BinormalPair, error_rates, sequential_auroc_test
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.paired import PairedDifference, paired_auroc_difference
from dlrm_pl.metrics.sequential import MIN_OF_A_CLASS, alpha_spent, look_at, next_look

TOLERANCE = 0.004


@given(looks=st.integers(1, 40), confidence=st.floats(0.6, 0.999))
def test_the_errors_of_all_looks_add_up_to_what_is_allowed(looks: int, confidence: float) -> None:
    spent = [alpha_spent(k, confidence=confidence, last=k == looks) for k in range(1, looks + 1)]
    assert sum(spent) == pytest.approx(1 - confidence)
    assert min(spent) > 0


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_wrong_verdicts_are_rarer_than_allowed(factor: float) -> None:
    """Four looks at noise; 60 trials of which 5 % may be wrong: more than 8 would happen once in 500 runs."""
    pair = BinormalPair(auroc=0.8, drop=factor * TOLERANCE, label_rate=0.2)
    rates = error_rates(pair, tolerance=TOLERANCE, confidence=0.95, first_block=1000, rows=8000, trials=60, seed=3)
    assert rates.wrong <= 8
    assert rates.wrong + rates.open < rates.trials
    assert len(set(rates.rows)) > 1


def test_at_the_tolerance_itself_looking_often_does_not_find_a_verdict_by_chance() -> None:
    """With an interval that ignores the earlier looks, a fifth of these trials are wrong."""
    pair = BinormalPair(auroc=0.8, drop=TOLERANCE * 1.001, label_rate=0.2)
    rates = error_rates(pair, tolerance=TOLERANCE, confidence=0.9, first_block=250, rows=8000, trials=100, seed=5)
    assert rates.wrong <= 17  # 10 are allowed; more than 17 would happen once in 100 runs.


def test_simulated_models_have_the_stated_auroc() -> None:
    pair = BinormalPair(auroc=0.8, drop=0.02, label_rate=0.3)
    found = paired_auroc_difference(*pair.draw(np.random.default_rng(0), 400_000))
    assert found.first == pytest.approx(0.8, abs=0.003)
    assert found.difference == pytest.approx(0.02, abs=0.002)


def test_clear_drop_is_decided_at_the_first_look_and_a_near_one_later() -> None:
    rng = np.random.default_rng(1)
    options = {"confidence": 0.95, "first_block": 2000}
    clear = BinormalPair(0.8, 0.0001, 0.2).draw(rng, 40_000)
    assert sequential_auroc_test(*clear, tolerance=0.02, **options).rows == 2000  # type: ignore[arg-type]
    near = BinormalPair(0.8, 0.018, 0.2).draw(rng, 40_000)
    assert sequential_auroc_test(*near, tolerance=0.02, **options).rows > 2000  # type: ignore[arg-type]


def test_block_of_a_single_class_is_read_past_and_costs_nothing() -> None:
    first, second, labels = BinormalPair(0.8, 0.0001, 0.5).draw(np.random.default_rng(1), 8000)
    labels[:1500] = False
    look = sequential_auroc_test(first, second, labels, tolerance=0.02, confidence=0.95, first_block=1000)
    assert look.number == 1
    assert look.rows == 2000


def difference(clicks: int, estimate: float = 0.001, error: float = 0.0005) -> PairedDifference:
    return PairedDifference(0.8, 0.8 - estimate, estimate, error, clicks, 10_000)


def look(found: PairedDifference, *, last: bool, tolerance: float = 0.002) -> object:
    return look_at(found, number=1, tolerance=tolerance, confidence=0.95, last=last, rows=20_000)


def test_few_clicks_decide_nothing_before_the_last_look() -> None:
    few = difference(MIN_OF_A_CLASS - 1, error=1e-9)
    assert look(few, last=False).decision == "open"  # type: ignore[attr-defined]
    assert look(few, last=True).decision == "within"  # type: ignore[attr-defined]
    assert math.isinf(look(difference(1), last=True).high)  # type: ignore[attr-defined]


def test_last_look_spends_all_and_equals_the_plain_interval() -> None:
    found = difference(1000)
    assert look(found, last=True).high == pytest.approx(found.difference + found.margin(1 - 0.95))  # type: ignore[attr-defined]
    assert look(found, last=False).high > found.difference + found.margin(1 - 0.95)  # type: ignore[attr-defined]


def test_rows_needed_follow_the_square_of_the_margin() -> None:
    near = look_at(difference(1000, 0.0019, 0.0005), number=1, tolerance=0.002, confidence=0.95, last=True, rows=20_000)
    reach = 1.6448536 * 0.0005
    assert near.decision == "open"
    assert near.rows_needed == pytest.approx(20_000 * (reach / 0.0001) ** 2, rel=1e-4)
    assert (
        look_at(difference(1000, 0.002), number=1, tolerance=0.002, confidence=0.95, last=True, rows=9).rows_needed
        is None
    )


def test_looks_double_and_begin_with_the_first_block() -> None:
    assert [next_look(rows, 100) for rows in (0, 100, 250)] == [100, 200, 500]
    with pytest.raises(ConfigurationError, match="first_block=0"):
        next_look(0, 0)
