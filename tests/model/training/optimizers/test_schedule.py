"""The learning rate as a function of the step, compared with the reference's stateful scheduler."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.optimizers.schedule import WarmupDecay
from tests.reference import dlrm as reference
from tests.support.examples import examples


@settings(deadline=None, max_examples=examples(200))
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
    """A quirk of the reference that published runs have: the full base rate is never reached."""
    schedule = WarmupDecay(1.0, warmup_steps=4, decay_start_step=8, decay_steps=2)
    rates = [schedule.rate(step) for step in range(1, 13)]
    assert rates == [0.25, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 1.0, 0.25, 0.25, 0.25, 0.25]


def test_without_decay_the_base_rate_follows_the_warmup() -> None:
    assert [WarmupDecay(2.0, warmup_steps=2).rate(step) for step in (1, 2, 3)] == [1.0, 2.0, 2.0]


def test_the_decay_ends_at_a_floor() -> None:
    assert WarmupDecay(1e-6, decay_steps=100).rate(99) == 1e-7


@pytest.mark.parametrize(
    ("kind", "power", "left"),
    [
        ("polynomial", 2.0, lambda done: (1 - done) ** 2),
        ("polynomial", 1.0, lambda done: 1 - done),
        ("polynomial", 0.5, lambda done: math.sqrt(1 - done)),
        ("cosine", 2.0, lambda done: math.cos(math.pi * done / 2) ** 2),
    ],
)
@pytest.mark.parametrize("end", [0.0, 0.25])
def test_other_decays_fall_from_the_base_rate_to_their_end(
    kind: Any, power: float, left: Callable[[float], float], end: float
) -> None:
    schedule = WarmupDecay(2.0, 4, 6, 8, kind, power, end)
    rates = [schedule.rate(step) for step in range(1, 20)]
    assert rates[:6] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    expected = [2 * (end + (1 - end) * left((step - 6) / 8)) for step in range(7, 15)]
    assert rates[6:14] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert rates[14:] == pytest.approx([2 * end] * 5)
    assert rates[3:] == sorted(rates[3:], reverse=True)


def test_a_constant_rate_follows_the_warmup() -> None:
    schedule = WarmupDecay(2.0, warmup_steps=2, kind="constant")
    assert [schedule.rate(step) for step in (1, 2, 3, 1000)] == [1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "cosine"}, "lr_schedule='cosine' needs lr_num_decay_steps"),
        ({"kind": "polynomial"}, "lr_schedule='polynomial' needs lr_num_decay_steps"),
        ({"kind": "constant", "decay_steps": 3}, "lr_num_decay_steps=3 contradicts lr_schedule='constant'"),
        ({"kind": "constant", "decay_start_step": 3}, "lr_decay_start_step=3 contradicts lr_schedule='constant'"),
        ({"decay_steps": 3, "power": 1.0}, "lr_decay_power=1.0 applies to.*'upstream', whose decay is quadratic"),
        ({"kind": "cosine", "decay_steps": 3, "power": 1.0}, "lr_decay_power=1.0 applies to.*is 'cosine'"),
        ({"kind": "polynomial", "decay_steps": 3, "power": 0.0}, "lr_decay_power=0.0 must be above 0"),
        ({"kind": "cosine", "decay_steps": 3, "end_factor": 1.5}, "lr_end_factor=1.5 must be between 0 and 1"),
        ({"decay_steps": 3, "end_factor": 0.5}, "lr_end_factor=0.5 applies to.*is 'upstream'"),
        ({"kind": "cosine", "decay_steps": 3, "warmup_steps": 5}, "is within the warm-up"),
    ],
)
def test_schedules_that_contradict_themselves_are_rejected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        WarmupDecay(1.0, **values)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0.0, 0, 0, 0), "learning_rate=0.0 must be above 0"),
        ((float("inf"), 0, 0, 0), "learning_rate=inf"),
        ((float("nan"), 0, 0, 0), "learning_rate=nan"),
        ((1.0, -1, 0, 0), "warmup_steps=-1"),
        ((1.0, 0, -2, 0), "decay_start_step=-2"),
        ((1.0, 0, 0, -3), "decay_steps=-3"),
        ((1.0, 5, 4, 1), "lr_decay_start_step=4 is within the warm-up of lr_num_warmup_steps=5"),
    ],
)
def test_impossible_schedules_are_rejected(numbers: tuple[float, int, int, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        WarmupDecay(*numbers)


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("decay", [(0, 0), (7, 1), (9, 5)])
@pytest.mark.parametrize("kind", ["upstream", "polynomial", "cosine"])
def test_rates_reported_as_steady_are_equal(kind: str, decay: tuple[int, int], warmup: int) -> None:
    if kind != "upstream" and not decay[1]:
        kind = "constant"
    schedule = WarmupDecay(0.3, warmup, *decay, kind=kind)  # type: ignore[arg-type]
    rates = [schedule.rate(step) for step in range(40)]
    steady = {(first, last) for last in range(1, 40) for first in range(1, last) if schedule.is_steady(first, last)}
    assert all(len(set(rates[first : last + 1])) == 1 for first, last in steady)
    assert {(30, 39)} <= steady
    assert ((1, 39) in steady) == (decay[1] == 0 and warmup < 2)
