"""Strategy ``mse``: like ``basic``, but the fallback order is measured instead of tried out in trials."""

from __future__ import annotations

from collections.abc import Generator

from dlrm_pl.quantization.ptq.calibration_sample import calibration_sample
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.strategies.fallback import (
    Level,
    best_variant,
    fall_back_together,
    fallbacks,
    level_by_level,
)
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.sensitivity.activation_error import activation_errors

_ROWS = 4096
"""Number of calibration rows that errors are measured on."""


def mse(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Fall back the ops whose output is distorted most by rounding.

    1. Try the start and its variants, as ``basic`` does; keep the best.
    2. Measure the squared error of each quantized op's output on calibration rows, as a share of the squared output.
    3. Fall back ops together, those with the greatest error first, and keep each op only if it helps further.
    4. Do the same once more, but keep every op.

    Steps 2 to 4 run for half precision, then for fp32, as far as the space allows. Before both, int4 tables fall back
    to int8, and the two levels start from the best recipe of that level.

    Source: the algorithm of the strategy of the same name in Intel's LPOT 1.6. LPOT divides the errors by the range of
    the tensor, which is 0 for a constant tensor; it loses them when a search is resumed, and they include the errors of
    the ops before.
    """

    def step(origin: Trial, level: Level) -> Generator[Recipe, Trial, Trial]:
        wider = fallbacks(context, origin.recipe, level)
        if not wider:
            return origin
        errors = _errors(context, origin.recipe, level)
        ranked = {op: wider[op] for op in sorted(wider, key=lambda op: -errors[op])}
        return (yield from fall_back_together(origin, ranked))

    yield from level_by_level((yield from best_variant(context)), step)


def _errors(context: SearchContext, recipe: Recipe, level: Level) -> dict[str, float]:
    """Error of each quantized op of a recipe."""

    def measure() -> dict[str, float]:
        sample = calibration_sample(context.calibration, _ROWS)
        return activation_errors(context.model, recipe, context.quantize, sample)

    errors: dict[str, float] = context.cached(f"mse: errors before falling back to {level}", measure)
    return errors
