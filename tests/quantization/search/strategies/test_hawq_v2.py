"""The order in which ``hawq_v2`` proposes recipes, with made-up damage."""

from __future__ import annotations

from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.strategies.hawq_v2 import hawq_v2
from tests.support import tiny
from tests.support.quantization import searches

DAMAGE = {"tables.1": 4.0, "bottom_mlp.0": 3.0, "interaction": 2.0}


def proposals(rule: searches.Rule, tables: str = "int8") -> list[dict[str, str]]:
    start = Recipe.starting_from(RecipeStart(tables=tables), tiny.ARCHITECTURE)  # type: ignore[arg-type]
    context = searches.context(start)
    for level in ("int8", "half", "fp32"):
        damage = dict.fromkeys(start.ops, 0.0) | DAMAGE
        context.cached(f"hawq_v2: damage before falling back to {level}", lambda damage=damage: damage)
    return [searches.fallen(trial.recipe) for trial in searches.follow(hawq_v2, context, rule)]


def test_ops_fall_back_together_by_their_damage_until_one_is_accepted() -> None:
    table, linear, interaction = {"tables.1": "fp16"}, {"bottom_mlp.0": "bf16"}, {"interaction": "bf16"}
    found = proposals(lambda ops: 0.01 * (ops["interaction"] == "int8"))
    assert found == [{}, table, table | linear, table | linear | interaction]


def test_nothing_to_do_when_the_start_is_accepted() -> None:
    assert proposals(lambda ops: 0.0) == [{}]


def test_ops_of_equal_damage_fall_back_from_the_last_to_the_first() -> None:
    found = proposals(lambda ops: 0.1)
    assert [next(iter(found[i + 1].keys() - found[i].keys())) for i in range(8)] == [
        *DAMAGE,
        *("top_mlp.2", "top_mlp.1", "top_mlp.0", "tables.2", "tables.0"),
    ]
    # The start, 8 of 9 ops in half precision, 8 in fp32: one stays quantized.
    assert len(found) == 17
    assert found[9] == {"tables.1": "fp32"}


def test_tables_fall_back_to_int8_and_only_then_to_halves() -> None:
    found = proposals(lambda ops: 0.1, tables="int4")
    assert found[1] == {"tables.0": "int4", "tables.2": "int4"}
    assert found[3] == {}
    assert found[4] == {"tables.1": "fp16"}
