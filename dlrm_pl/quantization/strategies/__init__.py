"""Which recipe to try next: one file a strategy, chosen by name; ``quantization/search.py`` says what one is."""

from __future__ import annotations

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.search import Strategy
from dlrm_pl.quantization.strategies.basic import basic
from dlrm_pl.quantization.strategies.budget import budget

STRATEGIES: dict[str, Strategy] = {"basic": basic, "budget": budget}


def strategy_named(name: str) -> Strategy:
    """Look up a strategy.

    Raises:
        ConfigurationError: there is none of that name; lists the names there are.
    """
    if name not in STRATEGIES:
        raise ConfigurationError(f"There is no strategy {name!r}. The strategies are {', '.join(sorted(STRATEGIES))}.")
    return STRATEGIES[name]
