"""A schedule that advances several steps at once."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from dlrm_pl.model.training.optimizers.schedule import WarmupDecay
from dlrm_pl.model.training.optimizers.step_schedule import StepSchedule


def made(kind: type[LambdaLR]) -> LambdaLR:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (0.3, 0.07)]
    factor = WarmupDecay(0.3, 5, 8, 6, kind="cosine").factor
    optimizer = torch.optim.SGD(groups)
    scheduler = kind(optimizer, lambda steps_done: factor(steps_done))
    optimizer.step()
    return scheduler


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 30])
def test_skipped_steps_leave_the_state_of_single_ones(steps: int) -> None:
    ours, theirs = made(StepSchedule), made(LambdaLR)
    assert isinstance(ours, StepSchedule)
    expected = []
    for _ in range(steps):
        expected.append([group["lr"] for group in theirs.optimizer.param_groups])
        theirs.step()
    assert ours.coming(max(1, steps))[:steps] == expected
    ours.skip(steps)
    assert ours.state_dict() == theirs.state_dict()
    assert [group["lr"] for group in ours.optimizer.param_groups] == [
        group["lr"] for group in theirs.optimizer.param_groups
    ]


def test_rate_that_was_changed_by_hand_is_that_of_the_next_step_only() -> None:
    schedule = made(StepSchedule)
    assert isinstance(schedule, StepSchedule)
    later = schedule.coming(3)[1:]
    schedule.optimizer.param_groups[0]["lr"] = 9.0
    assert schedule.coming(3) == [[9.0, schedule.optimizer.param_groups[1]["lr"]], *later]


def test_steady_rates_are_those_of_a_schedule_that_is_asked_for_each() -> None:
    schedule = WarmupDecay(0.3, 5, 12, 6, kind="cosine")
    parameter = [torch.nn.Parameter(torch.ones(1))]
    known = StepSchedule(torch.optim.SGD(parameter, lr=0.3), schedule.factor, schedule.is_steady)
    asked = StepSchedule(torch.optim.SGD(parameter, lr=0.3), schedule.factor)
    for done in range(30):
        for steps in range(1, 25):
            assert known.coming(steps) == asked.coming(steps), (done, steps)
        known.skip(1)
        asked.skip(1)
    assert known.state_dict() | {"_is_steady": None} == asked.state_dict() | {"_is_steady": None}
    assert "_is_steady" not in known.state_dict()
