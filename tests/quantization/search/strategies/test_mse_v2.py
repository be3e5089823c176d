"""The order in which ``mse_v2`` proposes recipes, with made-up errors of logits."""

from __future__ import annotations

import sys

import pytest

from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from dlrm_pl.quantization.search.strategies.mse_v2 import mse_v2
from tests.support import tiny
from tests.support.quantization import searches

# How much an op adds to the error of the logits while it is quantized; ops not listed add nothing.
ADDED = {"tables.1": 4.0, "bottom_mlp.0": 3.0, "interaction": 2.0, "top_mlp.2": 1.0}


@pytest.fixture(autouse=True)
def _errors_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrm_pl.quantization.search.context.SearchContext.quantize", lambda self, recipe: recipe)
    monkeypatch.setattr(
        sys.modules[mse_v2.__module__],
        "logit_error",
        lambda model, recipe, sample: sum(ADDED.get(op, 0.0) for op in recipe.quantized_ops),
    )


def proposals(rule: searches.Rule, **space: object) -> list[dict[str, str]]:
    context = searches.context(space=SearchSpace(SpaceSettings(**space), tiny.ARCHITECTURE))  # type: ignore[arg-type]
    return [searches.fallen(trial.recipe) for trial in searches.follow(mse_v2, context, rule)]


def test_nothing_to_do_when_the_start_is_accepted() -> None:
    assert proposals(lambda ops: 0.0) == [{}]


def test_falls_back_what_helps_most_and_quantizes_again_what_was_not_needed() -> None:
    needed = {"bottom_mlp.0", "top_mlp.2"}
    found = proposals(lambda ops: 0.01 * any(ops[op] == "int8" for op in needed))
    table, first, interaction, last = (
        {op: dtype}
        for op, dtype in (
            ("tables.1", "fp16"),
            ("bottom_mlp.0", "bf16"),
            ("interaction", "bf16"),
            ("top_mlp.2", "bf16"),
        )
    )
    assert found == [
        {},
        table,
        table | first,
        table | first | interaction,
        table | first | interaction | last,
        # Quantize again, the smallest errors first. Without top_mlp.2 it is the previous recipe, which is known.
        table | first | last,
        table | last,
        first | last,
    ]


def test_fp32_is_tried_from_the_start_again() -> None:
    found = proposals(lambda ops: 0.01 * (ops["tables.1"] != "fp32"), linears=("int8", "fp32"), interaction=("int8",))
    half = [recipe for recipe in found if "fp16" in recipe.values()]
    assert found == [{}, *half, {"tables.1": "fp32"}]
    # Only tables can use half precision; ops that add nothing fall back from the last to the first.
    assert half == [
        {"tables.1": "fp16"},
        {"tables.1": "fp16", "tables.2": "fp16"},
        {"tables.1": "fp16", "tables.2": "fp16", "tables.0": "fp16"},
    ]


def test_one_quantized_op_is_left() -> None:
    found = proposals(lambda ops: 0.1)
    assert max(len(recipe) for recipe in found) == len(Recipe.all_float(tiny.ARCHITECTURE).ops) - 1
    # 9 ops: the start, 8 in half precision, 8 in fp32.
    assert len(found) == 17
