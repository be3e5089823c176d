"""Strategy ``bayesian``: try recipes that a Gaussian process proposes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.model_based.optuna_sampler import search_by
from dlrm_pl.quantization.search.trials.trial import Trial


def bayesian(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Model cost and drop as functions of all choices, and try where the cost is expected to improve most.

    Try the start, ten random recipes, then those with the greatest expected improvement within the criterion. The
    search nearly always ends at ``max_trials`` or at the time limit, since spaces are large. For MLPerf's model a
    proposal takes seconds, more with each trial, so the strategy suits searches with few, slow trials.

    Source: Optuna's GPSampler (constrained expected improvement, Gardner et al. 2014). The strategy of the same name
    in Intel's LPOT 1.6 has no constraint, tries quantized dtypes only, and may never end.
    """
    yield from search_by(context, "bayesian", _sampler)


def _sampler(optuna: Any, seed: int) -> Any:
    # A recipe that is tried again gives the same trial, so there is no noise to model.
    return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
