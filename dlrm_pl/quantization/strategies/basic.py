"""The strategy ``basic``: the first recipe, its variants, then fall back op by op.

Source: the algorithm of the strategy of the same name in Intel's LPOT 1.6, with tables as ops like the Linears.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.trial import Trial

# What an op falls back to, in the order tried: first the half-size float, then fp32.
_FALLBACKS = {
    "bottom_mlp": ("bf16", "fp32"),
    "top_mlp": ("bf16", "fp32"),
    "interaction": ("bf16", "fp32"),
    "tables": ("fp16", "fp32"),
}


def basic(start: Recipe) -> Generator[Recipe, Trial, None]:
    """Propose recipes from the most quantized to the least.

    1. The start, then its variants of observer and activation scheme for the whole model; keep the best.
    2. From the best, fall back each op alone, from the last to the first.
    3. Fall back ops together, those that helped most first, and keep an op only if it helps further.
    4. The same once more, keeping every op.

    Steps 2 to 4 run for half precision, then for fp32. A recipe without a quantized op is never proposed.
    """
    best = yield start
    for recipe in _variants(start):
        best = _better(best, (yield recipe))
    origin = best
    for level in (0, 1):
        alone: list[tuple[float, str]] = []
        for op in reversed(origin.recipe.quantized_ops):
            trial = yield _fall_back(origin.recipe, op, level)
            alone.append((_score(trial), op))
            best = _better(best, trial)
        # sorted() is stable, so ops that help alike stay in the order from last to first.
        ranked = [op for _, op in sorted(alone, key=lambda pair: -pair[0])]
        kept = origin
        for op in ranked:
            recipe = _fall_back(kept.recipe, op, level)
            if recipe.quantized_ops:
                kept = _better(kept, (yield recipe))
        best = _better(best, kept)
        recipe = origin.recipe
        for op in ranked[:-1]:
            recipe = _fall_back(recipe, op, level)
            best = _better(best, (yield recipe))


def _variants(start: Recipe) -> Iterator[Recipe]:
    """The same dtypes with every other combination of observer and activation scheme."""
    for scheme in ("affine", "symmetric"):
        for observer in ("minmax", "histogram"):
            recipe = replace(start, observer=observer, activation_scheme=scheme)
            if recipe != start and "int8" in recipe.bottom_mlp + recipe.top_mlp:
                yield recipe


def _fall_back(recipe: Recipe, op: str, level: int) -> Recipe:
    return recipe.with_dtype(op, _FALLBACKS[op.split(".")[0]][level])


def _better(one: Trial, other: Trial) -> Trial:
    return other if _score(other) > _score(one) else one


def _score(trial: Trial) -> float:
    """A failed trial is worse than any score."""
    return float("-inf") if trial.score is None else trial.score
