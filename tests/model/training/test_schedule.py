"""The learning rate as a function of the step, against the reference's stateful scheduler."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.schedule import WarmupDecay
from tests.reference import dlrm as reference


@settings(deadline=None, max_examples=200)
@given(
    base=st.sampled_from([1.0, 0.1, 24.0, 1e-6]),
    warmup=st.integers(0, 12),
    gap=st.integers(0, 12),
    decay=st.integers(0, 12),
)
def test_rates_equal_the_stateful_scheduler(base: float, warmup: int, gap: int, decay: int) -> None:
    schedule = WarmupDecay(base, warmup, warmup + gap, decay)
    stateful = reference.StatefulSchedule(base, warmup, warmup + gap, decay)
    for step in range(1, warmup + gap + decay + 5):
        expected = stateful.step()
        assert schedule.rate(step) == pytest.approx(expected, rel=1e-12)
        assert schedule.factor(step - 1) * base == pytest.approx(expected, rel=1e-12)


def test_the_plateau_is_the_last_rate_of_the_warmup() -> None:
    """A quirk of the reference that published runs have: never the full base rate."""
    schedule = WarmupDecay(1.0, warmup_steps=4, decay_start_step=8, decay_steps=2)
    rates = [schedule.rate(step) for step in range(1, 13)]
    assert rates == [0.25, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 1.0, 0.25, 0.25, 0.25, 0.25]


def test_without_decay_the_base_rate_follows_the_warmup() -> None:
    assert [WarmupDecay(2.0, warmup_steps=2).rate(step) for step in (1, 2, 3)] == [1.0, 2.0, 2.0]


def test_the_decay_ends_at_a_floor() -> None:
    assert WarmupDecay(1e-6, decay_steps=100).rate(99) == 1e-7


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0.0, 0, 0, 0), "learning_rate=0.0 must be above 0"),
        ((float("inf"), 0, 0, 0), "learning_rate=inf"),
        ((float("nan"), 0, 0, 0), "learning_rate=nan"),
        ((1.0, -1, 0, 0), "warmup_steps=-1"),
        ((1.0, 0, -2, 0), "decay_start_step=-2"),
        ((1.0, 0, 0, -3), "decay_steps=-3"),
        ((1.0, 5, 4, 1), "lr_decay_start_step=4 lies inside the warm-up of lr_num_warmup_steps=5"),
    ],
)
def test_impossible_schedules_are_rejected(numbers: tuple[float, int, int, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        WarmupDecay(*numbers)
