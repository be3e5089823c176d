"""Strategy ``basic``: try the start and its variants, then fall back op by op.

Source: the algorithm of the strategy of the same name in Intel's LPOT 1.6, with tables as ops like the Linears.
"""

from __future__ import annotations

from collections.abc import Generator

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


def basic(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Propose recipes from the most quantized to the least.

    1. The start, then its variants of observer, activation scheme and weight granularity for the whole model; keep
       the best.
    2. From the best, fall back each op alone, from the last to the first.
    3. Fall back ops together, those that helped most first, and keep each op only if it helps further.
    4. Do the same once more, but keep every op.

    Steps 2 to 4 run for half precision, then for fp32, as far as the space allows. Before both, int4 tables fall back
    to int8, and the two levels start from the best recipe of that level. Recipes without a quantized op are left out.
    """

    def step(origin: Trial, level: Level) -> Generator[Recipe, Trial, Trial]:
        wider = fallbacks(context, origin.recipe, level)
        alone: dict[str, Trial] = {}
        for op, dtype in wider.items():
            recipe = origin.recipe.with_dtype(op, dtype)
            if recipe.quantized_ops:
                alone[op] = yield recipe
        # sorted() is stable, so ops that help equally stay in the order from last to first.
        ranked = {op: wider[op] for op in sorted(alone, key=lambda op: alone[op].bound)}
        return (yield from fall_back_together(origin, ranked))

    yield from level_by_level((yield from best_variant(context)), step)
