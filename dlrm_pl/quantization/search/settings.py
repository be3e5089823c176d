"""How to search, in plain values: what a configuration file says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.objective import Objective, ObjectiveName
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.quantization.search.strategies import strategy_named

Until = Literal["first", "budget"]


@dataclass(frozen=True)
class TuningSettings:
    """How to search.

    Attributes:
        recipe: where the search begins.
        criterion: what is accepted.
        strategy: which recipe is tried next, by name.
        objective: what is made small among accepted models: ``size``, ``latency``, or weights of both.
        space: what the search may choose from.
        timeout_s: 0 stops at the first recipe that is accepted. Otherwise the search goes on for so many seconds
            and the accepted model of the lowest cost wins. The time is looked at between trials; that of an earlier
            run which is continued counts.
        max_trials: at most so many recipes are tried.
        until: ``first`` stops at the first accepted recipe even with time left; ``budget`` goes on until the time, the
            trials or the strategy are at their end, with ``timeout_s: 0`` without a limit of time. null: as
            ``timeout_s`` says.
        seed: of everything random in a trial, and of random strategies.
    """

    recipe: RecipeStart = field(default_factory=RecipeStart)
    criterion: Criterion = field(default_factory=Criterion)
    strategy: str = "basic"
    objective: Objective | ObjectiveName = "size"
    space: SpaceSettings = field(default_factory=SpaceSettings)
    timeout_s: float = 0.0
    max_trials: int = 100
    until: Until | None = None
    seed: int = 9527

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: an unknown strategy or objective, a negative time or seed, or no trials.
        """
        check_fields(self)
        strategy_named(self.strategy)
        if not self.timeout_s >= 0:  # NaN as well, which no clock reaches.
            raise ConfigurationError(
                f"timeout_s={self.timeout_s} must be 0 (first that passes) or a number of seconds."
            )
        if self.max_trials < 1:
            raise ConfigurationError(f"max_trials={self.max_trials} must be at least 1.")
        if not 0 <= self.seed < 2**32:
            raise ConfigurationError(f"seed={self.seed} must be 0 or more and below 2**32.")

    @property
    def stops_at_first(self) -> bool:
        """The first accepted recipe ends the search."""
        return self.until == "first" or (self.until is None and not self.timeout_s)
