"""Settings of a search, as plain values like those in a configuration file."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.objective import Objective, ObjectiveName
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.quantization.search.strategies import strategy_named

StopAt = Literal["first", "budget"]


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningSettings:
    """How to search for a recipe, and what is accepted.

    Attributes:
        recipe: recipe that the search begins with.
        criterion: largest AUROC drop that is accepted, and the guards.
        strategy: name of the search strategy, which decides which recipe to try next.
        objective: what to minimize among accepted models: ``size``, ``latency``, or weights of both. Latency is timed
            in turn with fp32 and compiled bf16, and a model that is slower than the faster of them is not accepted.
        space: dtypes and observers that the search may choose from.
        timeout_s: seconds to search, after which the accepted model with the lowest cost wins; 0 stops at the first
            accepted recipe. The time is checked between trials, and a continued search includes the time of earlier
            runs.
        max_trials: maximum number of recipes to try.
        stop_at: when to stop: ``first`` stops at the first accepted recipe, even with time left; ``budget`` continues
            until the time, the trials or the strategy's recipes are used up, without a time limit if ``timeout_s`` is
            0. If unset, ``timeout_s`` decides.
        seed: random seed for trials and for strategies that draw at random.

    Raises:
        ConfigurationError: an unknown strategy or objective, a negative time or seed, or no trials.

    Example:
        >>> from dlrm_pl import Criterion, TuningSettings
        >>> settings = TuningSettings(criterion=Criterion(relative=0.001), strategy="budget", max_trials=20)
        >>> settings.stops_at_first
        True
        >>> TuningSettings(strategy="greedy")
        Traceback (most recent call last):
            ...
        dlrm_pl.errors.ConfigurationError: There is no strategy 'greedy'. The strategies are basic, ...
    """

    recipe: RecipeStart = field(default_factory=RecipeStart)
    criterion: Criterion = field(default_factory=Criterion)
    strategy: str = "basic"
    objective: Objective | ObjectiveName = "size"
    space: SpaceSettings = field(default_factory=SpaceSettings)
    timeout_s: float = 0.0
    max_trials: int = 100
    stop_at: StopAt | None = None
    seed: int = 9527

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self)
        strategy_named(self.strategy)
        if not self.timeout_s >= 0:  # This also refuses NaN, which no clock reaches.
            raise ConfigurationError(
                f"timeout_s={self.timeout_s} must be 0 (stop at the first accepted recipe) or a number of seconds."
            )
        if self.max_trials < 1:
            raise ConfigurationError(f"max_trials={self.max_trials} must be at least 1.")
        if not 0 <= self.seed < 2**32:
            raise ConfigurationError(f"seed={self.seed} must be 0 or more and below 2**32.")

    @property
    def stops_at_first(self) -> bool:
        """Whether the first accepted recipe ends the search."""
        return self.stop_at == "first" or (self.stop_at is None and not self.timeout_s)


def stop_at_or_until(stop_at: StopAt | None, until: StopAt | None) -> StopAt | None:
    """Return the value of ``stop_at``, which may still be given by its earlier name ``until``."""
    if until is None:
        return stop_at
    log.warning("until is now called stop_at; the old name is accepted in this version only")
    return until
