"""Strategy ``hawq_v2``: fall back by the curvature of the training loss, the most sensitive op first."""

from __future__ import annotations

from collections.abc import Generator

from dlrm_pl.quantization.ptq.calibration_sample import calibration_sample
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.fallback import Level, fallbacks, level_by_level
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.sensitivity.hessian import hessian_weighted_errors

_ROWS = 1024
"""Number of calibration rows for the loss. Each random vector of each op needs a backward pass over all of them."""

_DRAWS = 8
"""Number of random vectors for each trace. The ops differ by orders of magnitude, so rough traces rank them."""


def hawq_v2(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Fall back op by op, ordered by how much rounding an op's weights increases the float model's loss.

    1. Try the start; if it is accepted, the search is over, since all other recipes are larger.
    2. For each quantized op, multiply the mean Hessian diagonal of its weights by their squared rounding error, on
       calibration rows.
    3. Fall back one op after another, the greatest error first, and keep each fallback, until a recipe is accepted.

    Steps 2 and 3 run for half precision, then for fp32, as far as the space allows. Before both, int4 tables fall back
    to int8, and the two levels start from there. The strategy ignores the rounding of activations.

    Source: Dong et al. 2020, arXiv:1911.03852. The strategy of the same name in Intel Neural Compressor 2.6 ranks by
    the trace alone, needs a loss function from the user, and ignores tables.
    """
    if (yield context.start).accepted:
        return

    def step(recipe: Recipe, level: Level) -> Generator[Recipe, Trial, Recipe | None]:
        wider = fallbacks(context, recipe, level)
        errors = _errors(context, recipe, level) if wider else {}
        for op in sorted(wider, key=lambda op: -errors[op]):
            recipe = recipe.with_dtype(op, wider[op])
            if recipe.quantized_ops and (yield recipe).accepted:
                return None
        return recipe

    yield from level_by_level(context.start, step)


def _errors(context: SearchContext, recipe: Recipe, level: Level) -> dict[str, float]:
    """Hessian-weighted error of each quantized op of a recipe."""

    def measure() -> dict[str, float]:
        sample = calibration_sample(context.calibration, _ROWS)
        return hessian_weighted_errors(context.model, recipe, context.quantize, sample, seed=context.seed, draws=_DRAWS)

    errors: dict[str, float] = context.cached(f"hawq_v2: damage before falling back to {level}", measure)
    return errors
