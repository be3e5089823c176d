"""Settings for running a sweep, apart from its space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["median", "hyperband", "none"]

TRIALS = 20
"""Number of trials in a sweep for which neither a number nor a time is given."""


@dataclass(frozen=True)
class SweepSettings:
    """How to choose settings, when to prune, and when to stop.

    Attributes:
        sampler: method for choosing a trial's settings: ``tpe``, ``random`` or ``grid``.
        pruner: method for ending trials early: ``median``, ``hyperband`` or ``none``.
        seed: seed of the sampler.
        validations: number of validations in each trial, after equal shares of its rows.
        repeats: number of other seeds with which the best and the given settings are trained at the end.
        max_trials: number of trials, including those of earlier runs; None: see ``trials``.
        timeout_s: total time of trials in seconds, including those of earlier runs, after which no trial is started; 0:
            no limit.

    Raises:
        ConfigurationError: a value is out of range.
    """

    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: int = 0
    validations: int = 8
    repeats: int = 3
    max_trials: int | None = None
    timeout_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self)
        if not 0 <= self.seed < 2**32:
            raise ConfigurationError(f"seed={self.seed} must be 0 or more and below 2**32.")
        for name, value, least in (
            ("validations", self.validations, 1),
            ("repeats", self.repeats, 0),
            ("max_trials", self.max_trials, 1),
        ):
            if value is not None and value < least:
                raise ConfigurationError(f"{name}={value} must be at least {least}.")
        if not self.timeout_s >= 0:
            raise ConfigurationError(f"timeout_s={self.timeout_s} must be 0 (no limit) or a number of seconds.")

    @property
    def trials(self) -> int | None:
        """Number of trials to stop after; None if the time or the space ends them."""
        if self.max_trials is None and not self.timeout_s and self.sampler != "grid":
            return TRIALS
        return self.max_trials
