"""The reference's learning-rate schedule as a function of the step."""

from __future__ import annotations

from dataclasses import dataclass

from dlrm_pl.errors import ConfigurationError

_FLOOR = 1e-7


@dataclass(frozen=True)
class WarmupDecay:
    """Linear warm-up, plateau, quadratic decay: the reference's ``LRPolicyScheduler``.

    Its quirks are kept, since published runs have them: with a decay, the plateau is the last rate of the warm-up,
    ``base * (W - 1) / W``, and after the decay the rate stays at its last value.

    Attributes:
        base: learning rate, above 0.
        warmup_steps: W.
        decay_start_step: D.
        decay_steps: N; 0: no decay, the base rate after the warm-up.

    Raises:
        ConfigurationError: a negative number, or a decay that starts inside the warm-up.

    Source: facebookresearch/dlrm, ``LRPolicyScheduler``.
    """

    base: float
    warmup_steps: int = 0
    decay_start_step: int = 0
    decay_steps: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 < self.base < float("inf"):
            raise ConfigurationError(f"learning_rate={self.base} must be above 0 and finite.")
        for name in ("warmup_steps", "decay_start_step", "decay_steps"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} of the schedule must be 0 (off) or more.")
        if self.decay_steps and self.decay_start_step < self.warmup_steps:
            raise ConfigurationError(
                f"lr_decay_start_step={self.decay_start_step} lies inside the warm-up of "
                f"lr_num_warmup_steps={self.warmup_steps}. Start it later or shorten the warm-up."
            )

    def factor(self, steps_done: int) -> float:
        """What ``LambdaLR`` multiplies the base rate with, after so many optimizer steps."""
        return self.rate(steps_done + 1) / self.base

    def rate(self, step: int) -> float:
        """Learning rate of an optimizer step, counted from 1."""
        if step < self.warmup_steps:
            return self.base * step / self.warmup_steps
        if not self.decay_steps:
            return self.base
        if step < self.decay_start_step:
            # The reference freezes the rate before; without a warm-up there is none, and it fails there.
            return self.base * (self.warmup_steps - 1) / self.warmup_steps if self.warmup_steps > 1 else self.base
        last = self.decay_start_step + self.decay_steps - 1
        left = (self.decay_steps - (min(step, last) - self.decay_start_step)) / self.decay_steps
        return max(_FLOOR, self.base * left**2)
