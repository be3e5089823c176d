"""All recipes of a space: drawn at random, and enumerated from the start."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.search.strategies.choices import Choices
from dlrm_pl.quantization.search.strategies.exhaustive import exhaustive
from dlrm_pl.quantization.search.strategies.random import draws, random
from tests.support import tiny
from tests.support.quantization import searches

TWO_OPS = SpaceSettings(
    linears=("int8",),
    interaction=("int8",),
    tables=("int8",),
    ops={"tables.1": ["fp16", "int4", "int8"], "bottom_mlp.0": ["bf16", "int8"]},
    observers=("minmax", "kl"),
    activation_schemes=("affine",),
    weight_granularities=("per_channel",),
)


def small(seed: int = 1, settings: SpaceSettings = TWO_OPS, start: Recipe | None = None) -> searches.SearchContext:
    return searches.context(start, space=SearchSpace(settings, tiny.ARCHITECTURE), seed=seed)


def changes(recipe: Recipe) -> dict[str, str]:
    return searches.fallen(recipe) | ({"observer": recipe.observer} if recipe.observer != "minmax" else {})


def test_exhaustive_tries_the_neighbours_of_the_start_first() -> None:
    found = [changes(trial.recipe) for trial in searches.follow(exhaustive, small(), lambda ops: 0.1)]
    linear, int4, fp16, kl = {"bottom_mlp.0": "bf16"}, {"tables.1": "int4"}, {"tables.1": "fp16"}, {"observer": "kl"}
    assert found == [
        {},
        *(linear, int4, fp16, kl),
        *(linear | int4, linear | fp16, linear | kl, int4 | kl, fp16 | kl),
        *(linear | int4 | kl, linear | fp16 | kl),
    ]


def test_exhaustive_leaves_a_start_outside_of_the_space() -> None:
    start = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE).with_dtype("tables.0", "fp32")
    trials = searches.follow(exhaustive, small(start=start), lambda ops: 0.1)
    assert trials[0].recipe == start
    assert len(trials) == 13
    assert all(trial.recipe.tables[0] == "int8" for trial in trials[1:])


def test_exhaustive_begins_at_once_where_the_space_is_larger_than_memory() -> None:
    trials = searches.follow(exhaustive, searches.context(), lambda ops: 0.1, limit=60)
    assert len(trials) == 60


def test_every_recipe_is_drawn_once_and_in_any_order() -> None:
    orders = {tuple(draws(small(seed))) for seed in range(20)}
    assert len(orders) == 20
    assert {len(set(order)) for order in orders} == {12}
    assert len({frozenset(order) for order in orders}) == 1


def test_draws_are_even() -> None:
    seeds, context = 600, small()
    first = Counter(next(draws(replace(context, seed=seed))) for seed in range(seeds))
    assert len(first) == 12
    # 50 of each are expected; five standard deviations are 34.
    assert all(abs(count - seeds / 12) < 34 for count in first.values())


def test_random_does_not_wait_for_a_space_larger_than_memory() -> None:
    trials = searches.follow(random, searches.context(), lambda ops: 0.1, limit=60)
    assert len({trial.recipe for trial in trials}) == 60


def test_ranges_of_activations_make_no_difference_without_an_int8_linear() -> None:
    settings = SpaceSettings(
        linears=("bf16",), interaction=("fp32",), tables=("int8",), activation_schemes=("symmetric", "affine")
    )
    context = small(settings=settings)
    assert len(list(draws(context))) == 1
    start = Recipe.starting_from(RecipeStart(linears="bf16", interaction="fp32"), tiny.ARCHITECTURE)
    assert list(draws(small(settings=settings, start=start))) == [start]


def test_float_model_itself_is_not_a_recipe() -> None:
    settings = SpaceSettings(
        linears=("fp32",), interaction=("fp32",), tables=("fp32",), ops={"tables.0": ["fp32", "fp16"]}
    )
    found = list(draws(small(settings=settings)))
    assert [recipe.tables for recipe in found] == [("fp16", "fp32", "fp32")]


def test_choices_are_ordered_by_width_and_named_once() -> None:
    settings = SpaceSettings(tables=("fp32", "int8", "int4", "int8"))
    assert Choices(small(settings=settings)).options["tables.0"] == ("int4", "int8", "fp32")


def test_values_and_recipe_are_inverse() -> None:
    context = small()
    choices = Choices(context)
    for recipe in draws(context):
        assert choices.recipe(choices.values(recipe)) == recipe
