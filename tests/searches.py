"""Searches and trials made up for tests of strategies and of what shows them."""

from __future__ import annotations

import tiny

from dlrm_pl.quantization.calibration import ActivationRanges
from dlrm_pl.quantization.criterion import Criterion, Verdict
from dlrm_pl.quantization.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judge import Judge
from dlrm_pl.quantization.objective import Objective
from dlrm_pl.quantization.post_training import table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search import SearchContext
from dlrm_pl.quantization.sizes import recipe_bytes
from dlrm_pl.quantization.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.trial import Trial
from dlrm_pl.quantization.trial_log import TrialLog


def context(start: Recipe | None = None, **changes: object) -> SearchContext:
    """What a strategy is given, of the tiny model."""
    model = tiny.model()
    criterion = Criterion(relative=0.01, first_block=500)
    values = {
        "start": start or Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE),
        "space": SearchSpace(SpaceSettings(), tiny.ARCHITECTURE),
        "model": model,
        "calibration": tiny.batches(2, 64),
        "ranges": ActivationRanges(model, tiny.batches(2, 64)),
        "packer": table_packer(model),
        "criterion": criterion,
        "tolerance": 0.008,
        "objective": Objective(),
        "rows": Judge(model, AUROCEvaluation(tiny.batches(4, 500, seed=3)), criterion).rows,
        "seed": 1,
        "max_trials": 100,
        "log": TrialLog(),
    }
    return SearchContext(**(values | changes))  # type: ignore[arg-type]


def verdict(loss: float, tolerance: float = 0.008, **changes: object) -> Verdict:
    values = {
        "accepted": loss <= tolerance,
        "loss": loss,
        "bound": loss,
        "tolerance": tolerance,
        "reason": "made up",
        "baseline": 0.8,
        "score": 0.8 - loss,
        "low": loss,
        "decided": True,
        "looks": 1,
        "rows": 1000,
    }
    return Verdict(**(values | changes))  # type: ignore[arg-type]


def trial(recipe: Recipe, loss: float | None, number: int = 1, tolerance: float = 0.008) -> Trial:
    """A trial with that loss; failed when None."""
    if loss is None:
        return Trial(number, recipe, None, None, 0, 1.0, 0.0, 0, error="made up")
    size = recipe_bytes(recipe, tiny.ARCHITECTURE)
    return Trial(number, recipe, 0.8 - loss, verdict(loss, tolerance), size, 1.0, 1e4, 1000, cost=size / 1e4)
