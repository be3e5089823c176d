"""The order in which ``conservative`` quantizes."""

from __future__ import annotations

from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.search.strategies.conservative import conservative
from tests.support import tiny
from tests.support.quantization import searches

LINEARS = {"bottom_mlp.0", "bottom_mlp.1", "top_mlp.0", "top_mlp.1", "top_mlp.2"}
TABLES = {"tables.0", "tables.1", "tables.2"}


def quantized(rule: searches.Rule, start: Recipe | None = None, **space: object) -> list[set[str]]:
    context = searches.context(start, space=SearchSpace(SpaceSettings(**space), tiny.ARCHITECTURE))  # type: ignore[arg-type]
    return [set(trial.recipe.quantized_ops) for trial in searches.follow(conservative, context, rule)]


def test_kinds_of_ops_are_quantized_one_after_the_other() -> None:
    assert quantized(lambda ops: 0.0) == [TABLES, TABLES | LINEARS, TABLES | LINEARS | {"interaction"}]


def test_kind_that_fails_is_quantized_op_by_op_from_the_largest_and_the_rest_becomes_half_precision() -> None:
    context = searches.context()
    trials = searches.follow(conservative, context, lambda ops: 0.01 * (ops["tables.2"] == "int8"))
    others = LINEARS | {"interaction"}
    assert [set(trial.recipe.quantized_ops) for trial in trials] == [
        TABLES,
        LINEARS,
        others,
        others | {"tables.0"},
        others | {"tables.0", "tables.2"},
        others | {"tables.0", "tables.1"},
        others | {"tables.0", "tables.1"},
    ]
    assert [trial.recipe.tables[2] for trial in trials[-2:]] == ["fp32", "fp16"]


def test_what_the_start_has_in_floats_is_left_alone() -> None:
    start = Recipe.starting_from(RecipeStart(tables="fp32", interaction="bf16"), tiny.ARCHITECTURE)
    assert quantized(lambda ops: 0.0, start) == [LINEARS]


def test_op_that_may_not_be_a_float_is_quantized_throughout() -> None:
    found = quantized(lambda ops: 0.0, ops={"tables.1": ["int8"]})
    assert found[0] == {"tables.1"}
    assert all("tables.1" in ops for ops in found)


def test_float_start_is_tried_as_it_is() -> None:
    start = Recipe.all_float(tiny.ARCHITECTURE, linears="bf16", tables="fp16")
    assert quantized(lambda ops: 0.0, start) == [set()]


def test_single_op_that_failed_as_a_kind_is_not_tried_again() -> None:
    start = Recipe.all_float(tiny.ARCHITECTURE).with_dtype("tables.0", "int8").with_dtype("top_mlp.0", "int8")
    found = quantized(lambda ops: 0.1 * (ops["tables.0"] == "int8"), start)
    assert found == [{"tables.0"}, {"top_mlp.0"}, {"top_mlp.0"}]
