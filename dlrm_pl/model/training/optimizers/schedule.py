"""Learning rate as a function of the step: upstream's (facebookresearch/dlrm) schedule and three others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dlrm_pl.errors import ConfigurationError

ScheduleName = Literal["upstream", "polynomial", "cosine", "constant"]

_FLOOR = 1e-7
_UPSTREAM_POWER = 2.0
_HARDLY_ANY = 1e-3


@dataclass(frozen=True)
class WarmupDecay:
    """Linear warm-up, plateau and decay of the learning rate.

    ``upstream`` decays quadratically, with the quirks of upstream's ``LRPolicyScheduler``, since published runs have
    them: with a decay, the plateau is the last rate of the warm-up of W steps, ``base * (W - 1) / W``, and after the
    decay, the rate stays at its last value. The other schedules reach ``base`` at the end of the warm-up, stay there
    until the decay starts, and end at ``end_factor * base``.

    Attributes:
        base: learning rate, above 0.
        warmup_steps: number of warm-up steps, W; 0 is off.
        decay_start_step: step at which the decay starts.
        decay_steps: number of decay steps; 0: the rate stays at ``base`` after the warm-up.
        kind: ``upstream``; ``polynomial``: the remaining fraction of the decay, from 1 to 0, to the ``power``;
            ``cosine``: half a wave; ``constant``: no decay.
        power: power of ``polynomial``; upstream's is 2.
        end_factor: fraction of ``base`` at which ``polynomial`` and ``cosine`` end.

    Raises:
        ConfigurationError: a number is negative, the decay starts during the warm-up, or a number has no meaning for
            this kind of schedule.

    Source: facebookresearch/dlrm, ``LRPolicyScheduler``.
    """

    base: float
    warmup_steps: int = 0
    decay_start_step: int = 0
    decay_steps: int = 0
    kind: ScheduleName = "upstream"
    power: float = _UPSTREAM_POWER
    end_factor: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 < self.base < float("inf"):
            raise ConfigurationError(f"learning_rate={self.base} must be above 0 and finite.")
        for name in ("warmup_steps", "decay_start_step", "decay_steps"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} must not be negative; 0 turns it off.")
        if self.decay_steps and self.decay_start_step < self.warmup_steps:
            raise ConfigurationError(
                f"lr_decay_start_step={self.decay_start_step} is within the warm-up of "
                f"lr_num_warmup_steps={self.warmup_steps}. Start it later or shorten the warm-up."
            )
        self._check_kind()

    def _check_kind(self) -> None:
        if not 0 < self.power < float("inf"):
            raise ConfigurationError(f"lr_decay_power={self.power} must be above 0 and finite.")
        if not 0 <= self.end_factor <= 1:
            raise ConfigurationError(
                f"lr_end_factor={self.end_factor} must be between 0 and 1: it is the share of the learning rate that "
                "is left after the decay."
            )
        if self.kind != "polynomial" and self.power != _UPSTREAM_POWER:
            raise ConfigurationError(
                f"lr_decay_power={self.power} applies to lr_schedule='polynomial', but the schedule is "
                f"{self.kind!r}{', whose decay is quadratic' if self.kind == 'upstream' else ''}."
            )
        if self.kind in ("upstream", "constant") and self.end_factor:
            raise ConfigurationError(
                f"lr_end_factor={self.end_factor} applies to lr_schedule='polynomial' and 'cosine', but the schedule "
                f"is {self.kind!r}."
            )
        if self.kind == "constant" and (self.decay_steps or self.decay_start_step):
            name, value = (
                ("lr_num_decay_steps", self.decay_steps)
                if self.decay_steps
                else ("lr_decay_start_step", self.decay_start_step)
            )
            raise ConfigurationError(
                f"{name}={value} contradicts lr_schedule='constant', which has no decay. Leave it out, or give "
                "lr_schedule='upstream', 'polynomial' or 'cosine'."
            )
        if self.kind in ("polynomial", "cosine") and not self.decay_steps:
            raise ConfigurationError(
                f"lr_schedule={self.kind!r} needs lr_num_decay_steps, the number of steps of its decay. Give it, or "
                "lr_schedule='constant' for no decay."
            )

    def factor(self, steps_done: int) -> float:
        """Return the factor by which ``LambdaLR`` multiplies the base rate after this number of optimizer steps."""
        return self.rate(steps_done + 1) / self.base

    def is_steady(self, first: int, last: int) -> bool:
        """Return whether the rates of the steps from ``first`` to ``last``, counted from 1, are known to be equal."""
        if first < self.warmup_steps:
            return False
        end = self.decay_start_step + self.decay_steps
        return not self.decay_steps or last < self.decay_start_step or first >= end

    @property
    def end(self) -> int | None:
        """The step from which the rate stays below a thousandth of ``base``; None if there is none."""
        end = self.decay_start_step + self.decay_steps
        return end if self.decay_steps and self.rate(end) < _HARDLY_ANY * self.base else None

    def rate(self, step: int) -> float:
        """Return the learning rate of an optimizer step, counted from 1."""
        if step < self.warmup_steps:
            return self.base * step / self.warmup_steps
        if not self.decay_steps:
            return self.base
        if self.kind == "upstream":
            return self._upstream(step)
        done = min(max(step - self.decay_start_step, 0) / self.decay_steps, 1.0)
        left = (1 - done) ** self.power if self.kind == "polynomial" else (1 + math.cos(math.pi * done)) / 2
        return self.base * (self.end_factor + (1 - self.end_factor) * left)

    def _upstream(self, step: int) -> float:
        if step < self.decay_start_step:
            # Upstream keeps the last rate of the warm-up here. Without a warm-up, it has no such rate, and fails.
            return self.base * (self.warmup_steps - 1) / self.warmup_steps if self.warmup_steps > 1 else self.base
        last = self.decay_start_step + self.decay_steps - 1
        left = (self.decay_steps - (min(step, last) - self.decay_start_step)) / self.decay_steps
        return max(_FLOOR, self.base * left**2)
