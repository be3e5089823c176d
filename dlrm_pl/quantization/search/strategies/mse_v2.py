"""Strategy ``mse_v2``: repeatedly fall back the op that helps the logits most; then quantize again."""

from __future__ import annotations

import itertools
from collections.abc import Generator

from dlrm_pl.quantization.ptq.calibration_sample import calibration_sample
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.fallback import Level, fallbacks, level_by_level
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.sensitivity.activation_error import logit_error

_ROWS = 4096
"""Number of calibration rows that errors of logits are measured on."""


def mse_v2(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Fall back until a recipe is accepted, then quantize again the ops whose fallback is not needed.

    1. Try the start; if it is accepted, the search is over.
    2. For each quantized op, measure the mean squared error of the logits with that op in fp32. Fall back the op that
       leaves the least error, and try the recipe. Repeat until a recipe is accepted, or a single quantized op is left.
    3. If none is accepted, begin again at the next level: int8 (for int4 tables), half precision, fp32. What the int8
       level reached is kept.
    4. Starting from the accepted recipe, give the ops that fell back their dtype in the start again, in order of the
       error that this adds, least first, and keep what is accepted.

    Source: the algorithm of the strategy of the same name in Intel Neural Compressor 2.6. The error is measured with
    the op in fp32, whatever it falls back to, since fp32 tables need not be packed.
    """

    def step(trial: Trial, level: Level) -> Generator[Recipe, Trial, Trial | None]:
        for count in itertools.count():
            if trial.accepted:
                yield from _quantize_again(context, trial)
                return None
            recipes = _fallen(context, trial.recipe, level)
            if not recipes:
                break
            in_fp32 = {op: trial.recipe.with_dtype(op, "fp32") for op in recipes}
            errors = _errors(context, f"after {count} ops fell back to {level}", in_fp32)
            # The first of equals, which is the last op of the model.
            trial = yield recipes[min(recipes, key=lambda op: errors[op])]
        return trial

    yield from level_by_level((yield context.start), step)


def _fallen(context: SearchContext, recipe: Recipe, level: Level) -> dict[str, Recipe]:
    """Recipes with one more op at the level, by that op; without recipes that have no quantized op left."""
    recipes = {op: recipe.with_dtype(op, dtype) for op, dtype in fallbacks(context, recipe, level).items()}
    return {op: fallen for op, fallen in recipes.items() if fallen.quantized_ops}


def _quantize_again(context: SearchContext, best: Trial) -> Generator[Recipe, Trial, None]:
    """Quantize again the ops that need not have fallen back (step 4 of ``mse_v2``)."""
    start = context.start.ops
    fallen = [op for op, dtype in best.recipe.ops.items() if dtype != start[op]]
    if len(fallen) < 2:
        return  # Quantizing the only one again gives the start, which was not accepted.
    recipes = {op: best.recipe.with_dtype(op, start[op]) for op in fallen}
    errors = _errors(context, "with one op quantized again", recipes)
    for op in sorted(fallen, key=lambda op: errors[op]):
        trial = yield best.recipe.with_dtype(op, start[op])
        if trial.accepted:
            best = trial


def _errors(context: SearchContext, when: str, recipes: dict[str, Recipe]) -> dict[str, float]:
    """Error of the logits of each recipe, by the op that it differs in."""

    def measure() -> dict[str, float]:
        sample = calibration_sample(context.calibration, _ROWS)
        return {op: logit_error(context.model, context.quantize(recipe), sample) for op, recipe in recipes.items()}

    errors: dict[str, float] = context.cached(f"mse_v2: errors of the logits {when}", measure)
    return errors
