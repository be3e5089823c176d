"""A run that goes on after the decay of its learning rate says so."""

from __future__ import annotations

import math
import re

import pytest

from dlrm_pl.model.training.optimizers.schedule import ScheduleName, WarmupDecay
from dlrm_pl.model.training.safeguards.ended_decay import warn_of_ended_decay

UPSTREAM = WarmupDecay(1.0, decay_start_step=500, decay_steps=500)


@pytest.mark.parametrize(
    ("first", "steps", "expected"),
    [
        (0, 2000, "ends at step 1,000, but training runs from step 0 to step 2,000. .* rate is 4e-06, and the model"),
        (1000, 2000, "from step 1,000 to step 2,000. .* or lr_num_decay_steps, with --override$"),
        (0, math.inf, "from step 0. After"),
        (0, 1000, ""),
        (0, 1010, ""),
        (0, 1011, "ends at step 1,000"),
        (400, 800, ""),
    ],
)
def test_steps_after_the_decay_are_told(
    caplog: pytest.LogCaptureFixture, first: int, steps: float, expected: str
) -> None:
    warn_of_ended_decay(UPSTREAM, first, steps)
    assert len(caplog.messages) == bool(expected)
    assert all(re.search(expected, message) for message in caplog.messages)


@pytest.mark.parametrize(
    ("kind", "end_factor", "ends"),
    [("cosine", 0.0, True), ("cosine", 0.01, False), ("polynomial", 0.0005, True), ("upstream", 0.0, True)],
)
def test_a_rate_that_is_left_after_the_decay_trains(kind: ScheduleName, end_factor: float, ends: bool) -> None:
    schedule = WarmupDecay(0.3, decay_start_step=5, decay_steps=95, kind=kind, end_factor=end_factor)
    assert schedule.end == (100 if ends else None)


def test_a_rate_without_a_decay_does_not_end() -> None:
    assert WarmupDecay(0.3).end is None
    assert WarmupDecay(0.3, decay_steps=10).end is None  # Upstream's stays at a hundredth.
