"""The strategy ``basic``: the first recipe, its variants, then fall back op by op.

Source: the algorithm of the strategy of the same name in Intel's LPOT 1.6, with tables as ops like the Linears.
"""

from __future__ import annotations

from collections.abc import Generator

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search import SearchContext
from dlrm_pl.quantization.trial import Trial

# What an op falls back to, in the order tried: first the half-size float, then fp32.
_FALLBACKS = {
    "bottom_mlp": ("bf16", "fp32"),
    "top_mlp": ("bf16", "fp32"),
    "interaction": ("bf16", "fp32"),
    "tables": ("fp16", "fp32"),
}


def basic(context: SearchContext) -> Generator[Recipe, Trial, None]:
    """Propose recipes from the most quantized to the least.

    1. The start, then its variants of observer, activation scheme and weight granularity for the whole model; keep
       the best.
    2. From the best, fall back each op alone, from the last to the first.
    3. Fall back ops together, those that helped most first, and keep an op only if it helps further.
    4. The same once more, keeping every op.

    Steps 2 to 4 run for half precision, then for fp32, as far as the space allows. A recipe without a quantized op is
    never proposed.
    """
    best = yield context.start
    for recipe in context.space.variants(context.start):
        best = _better(best, (yield recipe))
    origin = best
    for level in (0, 1):
        alone: list[tuple[float, str]] = []
        for op in reversed(origin.recipe.quantized_ops):
            if not context.space.allows(op, _fallback(op, level)):
                continue
            trial = yield origin.recipe.with_dtype(op, _fallback(op, level))
            alone.append((trial.bound, op))
            best = _better(best, trial)
        # sorted() is stable, so ops that help alike stay in the order from last to first.
        ranked = [op for _, op in sorted(alone, key=lambda pair: pair[0])]
        kept = origin
        for op in ranked:
            recipe = kept.recipe.with_dtype(op, _fallback(op, level))
            if recipe.quantized_ops:
                kept = _better(kept, (yield recipe))
        best = _better(best, kept)
        recipe = origin.recipe
        for op in ranked:
            recipe = recipe.with_dtype(op, _fallback(op, level))
            if recipe.quantized_ops:
                best = _better(best, (yield recipe))


def _fallback(op: str, level: int) -> str:
    return _FALLBACKS[op.split(".")[0]][level]


def _better(one: Trial, other: Trial) -> Trial:
    """By the bound that the criterion judges: a small loss with a wide interval is luck. inf for a failed trial."""
    return other if other.bound < one.bound else one
