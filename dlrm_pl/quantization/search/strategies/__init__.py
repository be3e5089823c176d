"""Search strategies, one in each file, chosen by name; ``search/context.py`` has their interface."""

from __future__ import annotations

import difflib
from importlib.util import find_spec

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.search.context import Strategy
from dlrm_pl.quantization.search.strategies.basic import basic
from dlrm_pl.quantization.search.strategies.budget import budget
from dlrm_pl.quantization.search.strategies.conservative import conservative
from dlrm_pl.quantization.search.strategies.exhaustive import exhaustive
from dlrm_pl.quantization.search.strategies.hawq_v2 import hawq_v2
from dlrm_pl.quantization.search.strategies.model_based.bayesian import bayesian
from dlrm_pl.quantization.search.strategies.model_based.tpe import tpe
from dlrm_pl.quantization.search.strategies.mse import mse
from dlrm_pl.quantization.search.strategies.mse_v2 import mse_v2
from dlrm_pl.quantization.search.strategies.random import random

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
"""Packages that a strategy needs in addition to this package's requirements."""


def strategy_named(name: str) -> Strategy:
    """Look up a strategy.

    Raises:
        ConfigurationError: the name is unknown, or the strategy needs a package that is not installed; the message
            lists the names, or says how to install the package.
    """
    if name not in STRATEGIES:
        close = difflib.get_close_matches(str(name), STRATEGIES, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        names = ", ".join(sorted(STRATEGIES))
        raise ConfigurationError(f"There is no strategy {name!r}.{hint} The strategies are {names}.")
    # The packages are not imported: this check runs before hours of training, and the search comes after it.
    missing = [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]
    if missing:
        raise ConfigurationError(
            f"The strategy {name} needs {' and '.join(missing)}: pip install 'dlrm-pl[tune]'. These strategies need "
            f"no other package: {', '.join(sorted(STRATEGIES.keys() - _PACKAGES.keys()))}."
        )
    return STRATEGIES[name]
