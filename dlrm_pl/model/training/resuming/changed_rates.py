"""Hyperparameters of an optimizer and its schedule that change when training resumes from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

_OF_STATE = ("params", "param_names")


def numbers_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the learning rate, epsilon and so on of each parameter group."""
    return [{name: value for name, value in group.items() if name not in _OF_STATE} for group in optimizer.param_groups]


def give_numbers(optimizer: Optimizer, schedulers: Iterable[LambdaLR], numbers: Sequence[Mapping[str, Any]]) -> None:
    """Give a restored optimizer hyperparameters other than its checkpoint's, and its schedule their learning rates.

    Args:
        optimizer: optimizer with the state of a checkpoint.
        schedulers: its schedules, at the step of the checkpoint.
        numbers: result of ``numbers_of`` for the optimizer before it was restored and before a schedule changed it.
    """
    for group, wanted in zip(optimizer.param_groups, numbers, strict=True):
        group.update(wanted)
        group["initial_lr"] = wanted["lr"]
    for scheduler in schedulers:
        scheduler.base_lrs = [wanted["lr"] for wanted in numbers]
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        rates = [base * factor for base, factor in zip(scheduler.base_lrs, factors, strict=True)]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates
