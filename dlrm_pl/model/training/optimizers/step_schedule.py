"""A learning-rate schedule that knows the rates of the next steps, and can be advanced over them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR


class StepSchedule(LambdaLR):
    """torch's ``LambdaLR``, for runs of steps that are trained in one call.

    Args:
        optimizer: optimizer whose learning rates it sets.
        factor: returns the factor for the base rates after a number of steps.
        is_steady: returns whether the rates of all steps from one to another, counted from 1, are equal; None: not
            known.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        factor: Callable[[int], float],
        is_steady: Callable[[int, int], bool] | None = None,
    ) -> None:
        self._is_steady = is_steady
        super().__init__(optimizer, factor)

    def state_dict(self) -> dict[str, Any]:
        """Return what ``LambdaLR`` saves."""
        return {name: value for name, value in super().state_dict().items() if name != "_is_steady"}

    def coming(self, steps: int) -> list[list[float]]:
        """Return the learning rates of the next steps, by parameter group; those of the first step are in use."""
        rates = [[float(group["lr"]) for group in self.optimizer.param_groups]]
        if steps > 1 and self._is_steady is not None and self._is_steady(self.last_epoch + 2, self.last_epoch + steps):
            return rates + [self._rates_at(self.last_epoch + 1)] * (steps - 1)
        return rates + [self._rates_at(self.last_epoch + done) for done in range(1, steps)]

    def skip(self, steps: int) -> None:
        """Advance by several steps at once."""
        if not steps:
            return
        self._step_count += steps
        self.last_epoch += steps
        self._last_lr = list(self._rates_at(self.last_epoch))
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate

    def _rates_at(self, steps_done: int) -> list[float]:
        bases = self.base_lrs
        return [float(base * factor(steps_done)) for base, factor in zip(bases, self.lr_lambdas, strict=True)]
