"""What a search may choose from, and how it weighs the choices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.ptq.quantize import quantize
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.recipe_bytes import recipe_bytes
from dlrm_pl.quantization.search.objective import Latency, Objective
from dlrm_pl.quantization.search.result import pareto_front
from dlrm_pl.quantization.search.space import SearchSpace, SpaceSettings
from tests.support import tiny
from tests.support.quantization import searches

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)


def space(**settings: object) -> SearchSpace:
    return SearchSpace(SpaceSettings(**settings), tiny.ARCHITECTURE)  # type: ignore[arg-type]


def test_later_patterns_win_over_earlier_ones_and_over_the_lists() -> None:
    found = space(tables=("int8", "fp16"), ops={"tables.*": ["int4"], "tables.1": ["fp32", "int8"]})
    assert [found.dtypes[f"tables.{i}"] for i in range(3)] == [("int4",), ("fp32", "int8"), ("int4",)]
    assert found.dtypes["top_mlp.0"] == ("int8", "bf16", "fp32")
    assert not found.allows("tables.0", "int8")


def test_start_moves_into_the_space() -> None:
    moved = space(ops={"top_mlp.2": ["fp32"]}).moved_into(START)
    assert moved == START.with_dtype("top_mlp.2", "fp32")
    assert space().moved_into(START) is START


def test_interaction_that_cannot_be_int8_is_not_offered_so() -> None:
    architecture = replace(tiny.ARCHITECTURE, interaction="cat")
    assert SearchSpace(SpaceSettings(), architecture).dtypes["interaction"] == ("bf16", "fp32")


def test_a_cross_network_has_linears_to_choose_for_and_no_interaction() -> None:
    architecture = replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=4)
    settings = SpaceSettings(ops={"cross_net.*.w": ["bf16"], "cross_net.0.*": ["int8", "fp32"]})
    dtypes = SearchSpace(settings, architecture).dtypes
    assert dtypes["interaction"] == ("fp32",)
    assert [dtypes[f"cross_net.{layer}.{op}"] for layer in (0, 1) for op in "vw"] == [
        *[("int8", "fp32")] * 2,
        ("int8", "bf16", "fp32"),
        ("bf16",),
    ]
    with pytest.raises(ConfigurationError, match=r"interaction cannot be int8: .*products in the Linears cross_net"):
        SearchSpace(SpaceSettings(ops={"interaction": ["int8"]}), architecture)
    with pytest.raises(ConfigurationError, match="interaction is fp32, not bf16, fp32"):
        SearchSpace(SpaceSettings(ops={"interaction": ["bf16", "fp32"]}), architecture)
    with pytest.raises(ConfigurationError, match=r"no op 'cross_net.\*'. The ops are bottom_mlp.0"):
        space(ops={"cross_net.*": ["fp32"]})


def test_linear_that_cannot_be_int8_is_not_offered_so() -> None:
    architecture = replace(tiny.ARCHITECTURE, bottom_mlp=(65_793, 8))
    assert SearchSpace(SpaceSettings(), architecture).dtypes["bottom_mlp.0"] == ("bf16", "fp32")
    assert SearchSpace(SpaceSettings(linears=("int8",)), architecture).dtypes["bottom_mlp.0"] == ("fp32",)


@pytest.mark.parametrize(
    ("change", "op", "reason"),
    [
        ({"interaction": "cat"}, "interaction", "'cat' multiplies nothing"),
        ({"table_sizes": (3,) * 65}, "interaction", "65 tables of 8 values exceed the maximum of 64 tables of 32,768"),
        ({"bottom_mlp": (65_793, 8)}, "bottom_mlp.0", "65,793 inputs are more than 65,792"),
    ],
)
def test_asking_for_int8_where_there_is_none_says_why(change: dict[str, object], op: str, reason: str) -> None:
    architecture = replace(tiny.ARCHITECTURE, **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=f"{op} cannot be int8: .*{reason}"):
        SearchSpace(SpaceSettings(ops={op: ["int8", "fp32"]}), architecture)


def test_variants_are_all_others_and_none_without_an_int8_linear() -> None:
    found = space(observers=("minmax", "histogram"), weight_granularities=("per_channel",)).variants(START)
    assert len(found) == len(set(found)) == 3
    assert START not in found
    assert space().variants(Recipe.all_float(tiny.ARCHITECTURE, tables="int8")) == []


def test_unknown_op_lists_the_ops() -> None:
    with pytest.raises(ConfigurationError, match=r"no op 'tables\.9'. The ops are bottom_mlp\.0, .*top_mlp\.2"):
        space(ops={"tables.9": ["int8"]})


def test_dtype_that_an_op_does_not_have_lists_its_own() -> None:
    with pytest.raises(ConfigurationError, match=r"tables\.0 can be int8, int4, fp16, fp32, not 'bf16'"):
        space(ops={"tables.*": ["bf16"]})


@pytest.mark.parametrize("settings", [{"tables": ()}, {"observers": ()}, {"ops": {"tables.0": []}}])
def test_empty_choice_is_rejected(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="is empty"):
        space(**settings)


@pytest.mark.parametrize(
    "recipe",
    [
        START,
        Recipe.all_float(tiny.ARCHITECTURE),
        Recipe.all_float(tiny.ARCHITECTURE, linears="bf16", tables="fp16"),
        replace(START, weight_granularity="per_tensor", tables=("int4", "fp32", "int8")),
        START.with_dtype("top_mlp.1", "bf16"),
    ],
)
def test_bytes_are_those_of_the_model_that_is_made(recipe: Recipe) -> None:
    context = searches.context()
    made = quantize(context.model, recipe, context.ranges, context.packer)
    assert recipe_bytes(recipe, tiny.ARCHITECTURE) == made.model_bytes == context.bytes_of(recipe)


def test_cost_is_the_weighted_sum_of_shares() -> None:
    latency = Latency(samples_per_s=400.0, fp32_samples_per_s=100.0)
    assert Objective.named("size").cost(0.3, None) == 0.3
    assert Objective.named("latency").cost(0.3, latency) == 0.25
    assert Objective(size=2.0, latency=1.0).cost(0.3, latency) == pytest.approx(0.85)
    assert Objective.named("latency").cost(0.3, None) is None


@pytest.mark.parametrize(("size", "latency"), [(-1.0, 2.0), (0.0, 0.0)])
def test_weights_that_weigh_nothing_are_rejected(size: float, latency: float) -> None:
    with pytest.raises(ConfigurationError, match=f"size={size} and latency={latency}"):
        Objective(size, latency)


@pytest.mark.parametrize(
    ("speeds", "words"),
    [((90.0, 100.0, 80.0), "slower than fp32"), ((150.0, 100.0, 200.0), "slower than compiled bf16 with 200")],
)
def test_the_faster_float_model_is_what_counts(speeds: tuple[float, float, float], words: str) -> None:
    assert words in str(Latency(*speeds).slower_than)
    assert Latency(201.0, 100.0, 200.0).slower_than is None
    assert Latency(101.0, 100.0, None).slower_than is None


def test_pareto_front_holds_what_nothing_beats() -> None:
    def trial(number: int, drop: float | None, size: int, speed: float) -> searches.Trial:
        made = searches.trial(START, drop, number)
        return replace(made, model_bytes=size, samples_per_s=speed)

    trials = [
        trial(1, 0.001, 100, 5.0),
        trial(2, 0.002, 100, 5.0),  # Dominated by 1.
        trial(3, 0.003, 50, 5.0),
        trial(4, 0.003, 60, 9.0),  # Larger than 3, and faster.
        trial(5, None, 0, 0.0),  # Failed.
        trial(6, 0.001, 100, 5.0),  # The same as 1.
    ]
    assert [found.number for found in pareto_front(trials)] == [3, 4, 1, 6]
