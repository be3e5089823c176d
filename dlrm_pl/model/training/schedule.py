"""The learning-rate schedule of upstream (facebookresearch/dlrm) as a function of the step."""

from __future__ import annotations

from dataclasses import dataclass

from dlrm_pl.errors import ConfigurationError

_FLOOR = 1e-7


@dataclass(frozen=True)
class WarmupDecay:
    """Linear warm-up, plateau and quadratic decay of the learning rate, as in upstream's ``LRPolicyScheduler``.

    Upstream's quirks are kept, since published runs have them: with a decay, the plateau is the last rate of the
    warm-up of W steps, ``base * (W - 1) / W``, and after the decay the rate stays at its last value.

    Attributes:
        base: learning rate, above 0.
        warmup_steps: number of steps of the warm-up, W; 0 is off.
        decay_start_step: step at which the decay starts.
        decay_steps: number of steps of the decay; 0: the rate stays at ``base`` after the warm-up.

    Raises:
        ConfigurationError: a number is negative, or the decay starts inside the warm-up.

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
                raise ConfigurationError(
                    f"{name}={getattr(self, name)} of the schedule must not be negative; 0 is off."
                )
        if self.decay_steps and self.decay_start_step < self.warmup_steps:
            raise ConfigurationError(
                f"lr_decay_start_step={self.decay_start_step} lies inside the warm-up of "
                f"lr_num_warmup_steps={self.warmup_steps}. Start it later or shorten the warm-up."
            )

    def factor(self, steps_done: int) -> float:
        """Return the factor that ``LambdaLR`` multiplies the base rate with after this number of optimizer steps."""
        return self.rate(steps_done + 1) / self.base

    def rate(self, step: int) -> float:
        """Return the learning rate of an optimizer step, counted from 1."""
        if step < self.warmup_steps:
            return self.base * step / self.warmup_steps
        if not self.decay_steps:
            return self.base
        if step < self.decay_start_step:
            # Upstream keeps the last rate of the warm-up here. Without a warm-up there is none, and upstream fails.
            return self.base * (self.warmup_steps - 1) / self.warmup_steps if self.warmup_steps > 1 else self.base
        last = self.decay_start_step + self.decay_steps - 1
        left = (self.decay_steps - (min(step, last) - self.decay_start_step)) / self.decay_steps
        return max(_FLOOR, self.base * left**2)
