import json

import pytest
import tiny

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.recipe import Recipe, RecipeStart

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE, has_vnni=True)


def test_start_covers_every_linear_and_table() -> None:
    assert list(START.ops) == [
        *("bottom_mlp.0", "bottom_mlp.1"),
        *("tables.0", "tables.1", "tables.2"),
        *("top_mlp.0", "top_mlp.1", "top_mlp.2"),
    ]
    assert set(START.ops.values()) == {"int8"}


def test_json_round_trip_is_identity() -> None:
    recipe = START.with_dtype("tables.1", "int4").with_dtype("top_mlp.2", "bf16")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_changing_one_op_leaves_the_others() -> None:
    changed = START.with_dtype("tables.2", "fp16")
    assert changed.ops == START.ops | {"tables.2": "fp16"}
    assert changed.quantized_ops == tuple(op for op in START.ops if op != "tables.2")
    assert hash(changed) != hash(START)


def test_range_is_reduced_where_the_processor_needs_it_unless_told() -> None:
    def reduced(start: RecipeStart, vnni: bool) -> bool:
        return Recipe.starting_from(start, tiny.ARCHITECTURE, has_vnni=vnni).reduce_range

    assert not reduced(RecipeStart(), True)
    assert reduced(RecipeStart(), False)
    assert reduced(RecipeStart(reduce_range=True), True)
    assert not reduced(RecipeStart(reduce_range=False), False)


def test_description_counts_dtypes_and_names_the_ops_that_fell_back() -> None:
    text = START.with_dtype("tables.2", "fp16").describe()
    assert text == "Linears 5 int8; tables 2 int8 + 1 fp16 (tables.2); minmax, affine, per_channel"
    # Two trials that fall back one op each never read the same.
    descriptions = [START.with_dtype(op, "fp32").describe() for op in START.ops]
    assert len(set(descriptions)) == len(descriptions)
    assert "7-bit" in Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE, has_vnni=False).describe()


def test_unknown_op_lists_the_ops() -> None:
    with pytest.raises(ConfigurationError, match=r"no op 'tables\.9'.*bottom_mlp\.0, bottom_mlp\.1, tables\.0"):
        START.with_dtype("tables.9", "int4")


def test_dtype_that_an_op_does_not_have_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match=r"tables\.0 comes in int8, int4, fp16, fp32, not in 'bf16'"):
        START.with_dtype("tables.0", "bf16")
