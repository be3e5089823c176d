import json
from dataclasses import replace

import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from tests.support import tiny

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)


def test_start_covers_every_linear_and_table() -> None:
    assert list(START.ops) == [
        *("bottom_mlp.0", "bottom_mlp.1"),
        *("tables.0", "tables.1", "tables.2"),
        "interaction",
        *("top_mlp.0", "top_mlp.1", "top_mlp.2"),
    ]
    assert set(START.ops.values()) == {"int8"}


CROSSED = replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=9)


def test_linears_of_a_cross_network_are_ops() -> None:
    start = Recipe.starting_from(RecipeStart(), CROSSED)
    assert list(start.ops)[6:11] == ["cross_net.0.v", "cross_net.0.w", "cross_net.1.v", "cross_net.1.w", "top_mlp.0"]
    assert {op: dtype for op, dtype in start.ops.items() if dtype != "int8"} == {"interaction": "fp32"}
    assert start.describe() == "Linears 9 int8; tables 3 int8; interaction fp32; minmax, affine, per_channel"
    for op in ("cross_net.0.w", "cross_net.1.v"):
        changed = start.with_dtype(op, "bf16")
        assert changed.ops == start.ops | {op: "bf16"}
        assert Recipe.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed
        assert start.alone(op, "int8").quantized_ops == (op,)
        assert start.alone(op, "int8").has_int8_linears
    assert Recipe.all_float(CROSSED, "bf16").interaction == "fp32"
    with pytest.raises(ConfigurationError, match=r"no op 'cross_net.2.v'.*cross_net.1.w, top_mlp.0"):
        start.with_dtype("cross_net.2.v", "fp32")
    with pytest.raises(ConfigurationError, match="cross_net has 3 dtypes, but each cross layer has two Linears"):
        replace(start, cross_net=("int8",) * 3)
    assert "cross_net" not in START.to_dict()  # Recipes of earlier versions keep their form.


@pytest.mark.parametrize(
    ("recipe_of", "model_of"), [(CROSSED, tiny.ARCHITECTURE), (tiny.ARCHITECTURE, CROSSED)], ids=["dot", "dcn"]
)
def test_a_recipe_with_other_cross_layers_than_the_model_is_refused(
    recipe_of: Architecture, model_of: Architecture
) -> None:
    recipe = Recipe.starting_from(RecipeStart(linears="fp32", interaction="fp32"), recipe_of)
    model = tiny.model(0, model_of)
    expected = f"The recipe has {recipe_of.cross_layers} cross layers, but the model has {model_of.cross_layers}"
    with pytest.raises(ConfigurationError, match=expected):
        quantize(model, recipe, tiny.batches(1, 20), table_packer(model))


def test_json_round_trip_is_identity() -> None:
    recipe = START.with_dtype("tables.1", "int4").with_dtype("top_mlp.2", "bf16")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_changing_one_op_leaves_the_others() -> None:
    changed = START.with_dtype("tables.2", "fp16")
    assert changed.ops == START.ops | {"tables.2": "fp16"}
    assert changed.quantized_ops == tuple(op for op in START.ops if op != "tables.2")
    assert hash(changed) != hash(START)


def test_one_op_alone_leaves_no_other_op_quantized_and_the_observers_as_they_are() -> None:
    start = replace(START, observer="kl", bias_correction=False)
    alone = start.alone("tables.1", "int4")
    assert alone.quantized_ops == ("tables.1",)
    assert set(alone.ops.values()) == {"int4", "fp32"}
    assert (alone.observer, alone.bias_correction) == ("kl", False)
    assert not alone.has_int8_linears
    assert start.alone("top_mlp.2", "int8").has_int8_linears
    with pytest.raises(ConfigurationError, match=r"There is no op 'top_mlp\.9'"):
        start.alone("top_mlp.9", "int8")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (RecipeStart(), "int8"),
        (RecipeStart(tables="int4"), "int8"),
        (RecipeStart(tables="fp16"), "fp32"),  # Their precision would be lost in an int8 interaction.
        (RecipeStart(tables="fp32"), "fp32"),  # The seed recipe.
        (RecipeStart(tables="fp32", interaction="int8"), "int8"),
        (RecipeStart(interaction="bf16"), "bf16"),
    ],
)
def test_interaction_is_int8_where_it_loses_nothing_more_unless_told(start: RecipeStart, expected: str) -> None:
    assert Recipe.starting_from(start, tiny.ARCHITECTURE).interaction == expected


@pytest.mark.parametrize(
    "change",
    [{"interaction": "cat"}, {"table_sizes": (3,) * 65}, {"embedding_dim": 32_769, "bottom_mlp": (13, 32_769)}],
)
def test_interaction_is_fp32_where_the_kernels_do_not_reach(change: dict[str, object]) -> None:
    architecture = replace(tiny.ARCHITECTURE, **change)  # type: ignore[arg-type]
    assert Recipe.starting_from(RecipeStart(), architecture).interaction == "fp32"


def test_wide_rows_are_multiplied_in_int8() -> None:
    architecture = replace(tiny.ARCHITECTURE, embedding_dim=4096, bottom_mlp=(13, 4096))
    assert set(Recipe.starting_from(RecipeStart(), architecture).ops.values()) == {"int8"}


def test_linear_whose_sums_need_more_than_32_bits_is_fp32() -> None:
    # 4 vectors of 16,449 values side by side are 65,796 inputs, and 65,792 is the maximum.
    wide = replace(tiny.ARCHITECTURE, interaction="cat", embedding_dim=16_449, bottom_mlp=(13, 16_449))
    recipe = Recipe.starting_from(RecipeStart(), wide)
    assert (recipe.bottom_mlp, recipe.top_mlp) == (("int8",), ("fp32", "int8", "int8"))
    narrower = replace(wide, embedding_dim=16_448, bottom_mlp=(13, 16_448))
    assert Recipe.starting_from(RecipeStart(), narrower).top_mlp == ("int8",) * 3
    assert Recipe.starting_from(RecipeStart(linears="bf16"), wide).top_mlp == ("bf16",) * 3


def test_description_counts_dtypes_and_names_the_ops_that_fell_back() -> None:
    text = START.with_dtype("tables.2", "fp16").describe()
    assert text == "Linears 5 int8; tables 2 int8 + 1 fp16 (tables.2); interaction int8; minmax, affine, per_channel"
    # Two trials that each let one op fall back never read the same.
    descriptions = [START.with_dtype(op, "fp32").describe() for op in START.ops]
    assert len(set(descriptions)) == len(descriptions)


def test_unknown_op_lists_the_ops() -> None:
    with pytest.raises(ConfigurationError, match=r"no op 'tables\.9'.*bottom_mlp\.0, bottom_mlp\.1, tables\.0"):
        START.with_dtype("tables.9", "int4")


def test_dtype_that_an_op_does_not_have_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match=r"tables\.0 can be int8, int4, fp16, fp32, not 'bf16'"):
        START.with_dtype("tables.0", "bf16")
