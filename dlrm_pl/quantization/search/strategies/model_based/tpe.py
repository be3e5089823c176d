"""Strategy ``tpe``: try recipes that a tree-structured Parzen estimator proposes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.model_based.optuna_sampler import search_by
from dlrm_pl.quantization.search.trials.trial import Trial


def tpe(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Learn from good and bad recipes which choices give a low cost within the criterion.

    Try the start, ten random recipes, then recipes that are likelier among the good trials than among the bad ones. The
    search nearly always ends at ``max_trials`` or at the time limit, since spaces are large.

    Source: Optuna's TPESampler, multivariate (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization";
    Watanabe 2023, arXiv:2304.11127). The strategy of the same name in Intel's LPOT 1.6 adds a penalty for the drop to
    the cost; here it is a constraint.
    """
    yield from search_by(context, "tpe", _sampler)


def _sampler(optuna: Any, seed: int) -> Any:
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)
