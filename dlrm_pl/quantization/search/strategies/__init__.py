"""Which recipe to try next: one file a strategy, chosen by name; ``quantization/search.py`` says what one is."""

from __future__ import annotations

from importlib.util import find_spec

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.search.context import Strategy
from dlrm_pl.quantization.search.strategies.basic import basic
from dlrm_pl.quantization.search.strategies.bayesian import bayesian
from dlrm_pl.quantization.search.strategies.budget import budget
from dlrm_pl.quantization.search.strategies.conservative import conservative
from dlrm_pl.quantization.search.strategies.exhaustive import exhaustive
from dlrm_pl.quantization.search.strategies.hawq_v2 import hawq_v2
from dlrm_pl.quantization.search.strategies.mse import mse
from dlrm_pl.quantization.search.strategies.mse_v2 import mse_v2
from dlrm_pl.quantization.search.strategies.random import random
from dlrm_pl.quantization.search.strategies.tpe import tpe

STRATEGIES: dict[str, Strategy] = {
    "basic": basic,
    "bayesian": bayesian,
    "budget": budget,
    "conservative": conservative,
    "exhaustive": exhaustive,
    "hawq_v2": hawq_v2,
    "mse": mse,
    "mse_v2": mse_v2,
    "random": random,
    "tpe": tpe,
}

_PACKAGES = {"bayesian": ("optuna", "scipy"), "tpe": ("optuna",)}
"""What is needed beyond the package's own requirements."""


def strategy_named(name: str) -> Strategy:
    """Look up a strategy.

    Raises:
        ConfigurationError: there is none of that name; lists the names there are. Or it needs a package that is not
            installed; names the extra.
    """
    if name not in STRATEGIES:
        raise ConfigurationError(f"There is no strategy {name!r}. The strategies are {', '.join(sorted(STRATEGIES))}.")
    # By name alone: whoever trains for hours before a search is told before.
    missing = [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]
    if missing:
        raise ConfigurationError(
            f"The strategy {name} needs the package {' and '.join(missing)}: pip install 'dlrm-pl[tune]'. "
            f"{', '.join(sorted(STRATEGIES.keys() - _PACKAGES.keys()))} do without."
        )
    return STRATEGIES[name]
