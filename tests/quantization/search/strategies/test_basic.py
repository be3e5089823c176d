"""The order in which ``basic`` proposes recipes, with made-up scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.strategies.basic import basic
from tests.support import tiny
from tests.support.quantization import searches

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
VARIANTS = 16  # Observers, schemes and granularities, including the start.
OPS = list(START.ops)


def fallen(recipe: Recipe) -> set[str]:
    return {op for op, dtype in recipe.ops.items() if dtype != "int8"}


def proposals(score: Callable[[set[str]], float]) -> Iterator[Recipe]:
    strategy = basic(searches.context(START))
    recipe = next(strategy)
    try:
        while True:
            yield recipe
            recipe = strategy.send(searches.trial(recipe, drop=-score(fallen(recipe))))
    except StopIteration:
        return


def gain(fallen_ops: set[str]) -> float:
    """Return a score: two ops help when they fall back, and each other one costs a little."""
    worth = {"tables.1": 3.0, "bottom_mlp.0": 2.0}
    return sum(worth.get(op, -0.1) for op in fallen_ops)


def test_each_op_falls_back_alone_from_the_last_to_the_first() -> None:
    alone = [fallen(recipe) for recipe in proposals(gain)][VARIANTS : VARIANTS + len(OPS)]
    assert alone == [{op} for op in reversed(OPS)]


def test_ops_fall_back_together_and_stay_only_where_they_help() -> None:
    start = VARIANTS + len(OPS)
    together = [fallen(recipe) for recipe in proposals(gain)][start : start + len(OPS)]
    best = {"tables.1", "bottom_mlp.0"}
    assert together[0] == {"tables.1"}
    assert together[1] == best
    others = [op for op in reversed(OPS) if op not in best]
    assert together[2:] == [best | {op} for op in others]


def test_then_they_fall_back_together_whether_they_help_or_not() -> None:
    start = VARIANTS + 2 * len(OPS)
    all_of_them = [fallen(recipe) for recipe in proposals(gain)][start : start + len(OPS) - 1]
    assert [len(ops) for ops in all_of_them] == list(range(1, len(OPS)))
    assert all(one < other for one, other in pairwise(all_of_them))


def test_half_precision_comes_before_single() -> None:
    dtypes = [set(recipe.ops.values()) - {"int8"} for recipe in proposals(gain)]
    half = [bool(found & {"bf16", "fp16"}) for found in dtypes]
    single = [bool(found & {"fp32"}) for found in dtypes]
    assert max(index for index, found in enumerate(half) if found) < single.index(True)


def test_small_drop_with_a_wide_interval_is_not_the_best() -> None:
    lucky, certain = (searches.trial(START, drop) for drop in (0.0, 0.001))
    strategy = basic(searches.context(START))
    next(strategy)
    recipe = strategy.send(replace(certain, recipe=START))  # The start itself.
    for _ in range(VARIANTS - 1):
        assert lucky.verdict is not None
        wide = replace(lucky.verdict, bound=0.01, low=-0.01)
        recipe = strategy.send(replace(lucky, recipe=recipe, verdict=wide))
    # The first op that falls back is an op of the start.
    assert recipe == START.with_dtype("top_mlp.2", "bf16")
