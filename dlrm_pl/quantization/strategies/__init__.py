"""Which recipe to try next: one file a strategy, chosen by name.

A strategy is a generator function: it is started with the first recipe, yields a recipe to try, is sent the
``Trial`` that came of it, and returns when it has nothing more to propose.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.strategies.basic import basic
from dlrm_pl.quantization.trial import Trial

Strategy = Callable[[Recipe], Generator[Recipe, Trial, None]]

STRATEGIES: dict[str, Strategy] = {"basic": basic}


def strategy_named(name: str) -> Strategy:
    """Look up a strategy.

    Raises:
        ConfigurationError: there is none of that name; lists the names there are.
    """
    if name not in STRATEGIES:
        raise ConfigurationError(f"There is no strategy {name!r}. The strategies are {', '.join(sorted(STRATEGIES))}.")
    return STRATEGIES[name]
