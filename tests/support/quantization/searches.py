"""Made-up searches and trials for tests of strategies and of their displays."""

from __future__ import annotations

from collections.abc import Callable

from dlrm_pl.quantization.judging.criterion import Criterion, Verdict
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judging.judge import Judge
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.recipe_bytes import recipe_bytes
from dlrm_pl.quantization.search.context import SearchContext, Strategy
from dlrm_pl.quantization.search.objective import Objective
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from tests.support import tiny


def context(start: Recipe | None = None, **changes: object) -> SearchContext:
    """Return a strategy's input for the tiny model."""
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


def verdict(drop: float, tolerance: float = 0.008, **changes: object) -> Verdict:
    values = {
        "accepted": drop <= tolerance,
        "drop": drop,
        "bound": drop,
        "tolerance": tolerance,
        "reason": "made up",
        "baseline": 0.8,
        "score": 0.8 - drop,
        "low": drop,
        "decided": True,
        "looks": 1,
        "rows": 1000,
    }
    return Verdict(**(values | changes))  # type: ignore[arg-type]


def trial(recipe: Recipe, drop: float | None, number: int = 1, tolerance: float = 0.008) -> Trial:
    """Return a trial with that drop; it failed if None."""
    if drop is None:
        return Trial(number, recipe, None, None, 0, 1.0, 0.0, 0, error="made up")
    size = recipe_bytes(recipe, tiny.ARCHITECTURE)
    return Trial(number, recipe, 0.8 - drop, verdict(drop, tolerance), size, 1.0, 1e4, 1000, cost=size / 1e4)


Rule = Callable[[dict[str, str]], float | None]
"""Maps dtypes by op to a drop; None: the trial fails."""


def follow(strategy: Strategy, context: SearchContext, rule: Rule, limit: int = 10_000) -> list[Trial]:
    """Return a search's trials as the tuning loop runs it, judged by a rule; trials in the log are not judged again.

    If a strategy keeps repeating earlier proposals, an error stops it.
    """
    tried: dict[Recipe, Trial] = {}
    proposals = strategy(context)
    repeated = 0
    try:
        recipe = next(proposals)
        while True:
            repeated += 1
            assert repeated < 200, "the same recipes for ever"
            if recipe not in tried:
                repeated = 0
                found = context.log.find(recipe) or trial(recipe, rule(recipe.ops), number=len(tried) + 1)
                if context.log.find(recipe) is None:
                    context.log.add(found)
                tried[recipe] = found
                if len(tried) == limit:
                    break
            recipe = proposals.send(tried[recipe])
    except StopIteration:
        pass
    finally:
        proposals.close()
    return list(tried.values())


def fallen(recipe: Recipe) -> dict[str, str]:
    """Return the ops that differ from the usual start, with their dtypes."""
    return {op: dtype for op, dtype in recipe.ops.items() if dtype != "int8"}
