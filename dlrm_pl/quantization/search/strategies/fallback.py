"""Steps that strategies share: find the best variant of the start, and fall back to wider dtypes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Literal, TypeVar

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.context import SearchContext
from dlrm_pl.quantization.search.trials.trial import Trial

Level = Literal["int8", "half", "fp32"]

LEVELS: tuple[Level, ...] = ("int8", "half", "fp32")
"""Dtypes that ops fall back to, in the order tried. The first is for int4 tables only."""

_WIDER: dict[Level, dict[str, str]] = {
    "int8": {"int4": "int8"},
    "half": {"int4": "half", "int8": "half"},
    "fp32": {"int4": "fp32", "int8": "fp32"},
}


Origin = TypeVar("Origin")


def level_by_level(
    origin: Origin, step: Callable[[Origin, Level], Generator[Recipe, Trial, Origin | None]]
) -> Generator[Recipe, Trial, None]:
    """Run a step for each level, from int8 to fp32.

    Half precision and fp32 both start from the result of the int8 level.

    Args:
        origin: trial or recipe that the first level starts from.
        step: tries recipes of one level and returns its result; None ends the search.
    """
    for level in LEVELS:
        reached = yield from step(origin, level)
        if reached is None:
            return
        if level == "int8":
            origin = reached


def fallbacks(context: SearchContext, recipe: Recipe, level: Level) -> dict[str, str]:
    """Return the dtype that each quantized op falls back to at a level, from the last op to the first.

    Ops that are already at least as wide, or may not have that dtype, are left out.
    """
    dtypes: dict[str, str] = {}
    for op in reversed(recipe.quantized_ops):
        dtype = _WIDER[level].get(recipe.ops[op])
        if dtype == "half":
            dtype = "fp16" if op.startswith("tables.") else "bf16"
        if dtype is not None and context.space.allows(op, dtype):
            dtypes[op] = dtype
    return dtypes


def best_variant(context: SearchContext) -> Generator[Recipe, Trial, Trial]:
    """Try the start, then its variants of observer, activation scheme and weight granularity; return the best trial."""
    best = yield context.start
    for recipe in context.space.variants(context.start):
        best = better(best, (yield recipe))
    return best


def fall_back_together(origin: Trial, ranked: Mapping[str, str]) -> Generator[Recipe, Trial, Trial]:
    """Fall back op by op, first keeping only changes that help, then all; return the best trial."""
    kept = yield from keep_what_helps(origin, ranked)
    return better(kept, (yield from keep_all(origin, ranked)))


def keep_what_helps(origin: Trial, ranked: Mapping[str, str]) -> Generator[Recipe, Trial, Trial]:
    """Fall back op by op, keeping each change only if it lowers the drop's bound further; return the best trial.

    Like ``keep_all``, this never proposes a recipe without a quantized op.
    """
    kept = origin
    for op, dtype in ranked.items():
        recipe = kept.recipe.with_dtype(op, dtype)
        if recipe.quantized_ops:
            kept = better(kept, (yield recipe))
    return kept


def keep_all(origin: Trial, ranked: Mapping[str, str]) -> Generator[Recipe, Trial, Trial]:
    """Fall back op by op, keeping each change, and return the best trial."""
    best, recipe = origin, origin.recipe
    for op, dtype in ranked.items():
        recipe = recipe.with_dtype(op, dtype)
        if recipe.quantized_ops:
            best = better(best, (yield recipe))
    return best


def better(first: Trial, second: Trial) -> Trial:
    """Return the trial with the lower bound of the drop, which the criterion judges; on a tie, the first.

    A small drop with a wide interval may be luck. The bound of a failed trial is infinite.
    """
    return second if second.bound < first.bound else first
