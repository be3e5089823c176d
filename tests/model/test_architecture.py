"""The numbers that define a network, and numbers that define none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture

MLPERF = Architecture(
    table_sizes=(3,) * 26, embedding_dim=128, bottom_mlp=(13, 512, 256, 128), top_mlp=(1024, 1024, 512, 256, 1)
)
MLPERF_V2 = replace(MLPERF, interaction="dcn", cross_layers=3, cross_rank=512)


def test_interaction_widths_are_those_of_the_published_models() -> None:
    assert MLPERF.interaction_width == 479
    assert replace(MLPERF, self_interaction=True).interaction_width == 479 + 27
    assert replace(MLPERF, interaction="cat").interaction_width == 27 * 128
    kaggle = replace(MLPERF, embedding_dim=16, bottom_mlp=(13, 512, 256, 64, 16), top_mlp=(512, 256, 1))
    assert kaggle.interaction_width == 367


def test_plain_types_and_back_is_identity() -> None:
    architecture = replace(MLPERF, interaction="cat", self_interaction=True, loss_threshold=0.1)
    assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture
    assert Architecture.from_dict(json.loads(json.dumps(MLPERF_V2.to_dict()))) == MLPERF_V2


def test_statements_of_earlier_versions_are_as_they_were() -> None:
    assert list(MLPERF.to_dict()) == [
        *("table_sizes", "embedding_dim", "bottom_mlp", "top_mlp"),
        *("interaction", "self_interaction", "loss_threshold"),
    ]


def test_linears_of_mlperfs_second_model_are_those_it_states() -> None:
    shapes = MLPERF_V2.linear_shapes
    assert list(shapes)[2:6] == ["bottom_mlp.2", "cross_net.0.v", "cross_net.0.w", "cross_net.1.v"]
    assert shapes["cross_net.2.v"] == (3456, 512)
    assert shapes["cross_net.2.w"] == (512, 3456)
    assert shapes["top_mlp.0"] == (3456, 1024)
    products = {part: sum(a * b for op, (a, b) in shapes.items() if op.startswith(part)) for part in ("b", "c", "t")}
    assert products == {"b": 170_496, "c": 10_616_832, "t": 5_243_136}


def test_lists_and_numbers_of_numpy_become_plain_tuples() -> None:
    made = Architecture(
        table_sizes=[np.int64(3)] * 26,  # type: ignore[arg-type]
        embedding_dim=np.int32(128),  # type: ignore[arg-type]
        bottom_mlp=np.array([13, 512, 256, 128]),  # type: ignore[arg-type]
        top_mlp=[1024, 1024, 512, 256, 1],  # type: ignore[arg-type]
    )
    assert (made, hash(made)) == (MLPERF, hash(MLPERF))
    assert {type(size) for size in (*made.table_sizes, made.embedding_dim, *made.bottom_mlp)} == {int}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table_sizes": ()}, "table_sizes is empty"),
        ({"table_sizes": (3, 2**40 + 1)}, r"table_sizes\[1\]=1099511627777 is too large: at most 1,099,511,627,776"),
        ({"table_sizes": (3,) * 10_001}, "table_sizes has 10,001 numbers, but at most 10,000"),
        ({"table_sizes": (3, 0)}, r"table_sizes\[1\]=0 must be a whole number of at least 1"),
        ({"bottom_mlp": (13, -2, 128)}, r"bottom_mlp\[1\]=-2"),
        ({"bottom_mlp": (13, 2.5, 128)}, r"bottom_mlp\[1\]=2.5 must be a whole"),
        ({"top_mlp": (0, 1)}, r"top_mlp\[0\]=0"),
        ({"bottom_mlp": (128,)}, r"bottom_mlp=\[128\] must have at least two numbers"),
        ({"bottom_mlp": (13, 64)}, r"ends in 64, but must end in embedding_dim=128"),
        ({"top_mlp": ()}, r"top_mlp=\[\] must end in 1"),
        ({"top_mlp": (5, 2)}, r"top_mlp=\[5, 2\] must end in 1"),
        ({"interaction": "mean"}, "interaction='mean' must be"),
        ({"cross_layers": 3}, "cross_layers=3 needs interaction='dcn'"),
        ({"interaction": "cat", "cross_rank": 3}, "cross_rank=3 needs interaction='dcn'.* not 'cat'"),
        ({"interaction": "dcn", "cross_rank": 3}, "cross_layers=0 must be from 1 to 10,000, with"),
        ({"interaction": "dcn", "cross_layers": 3}, "cross_rank=0 must be from 1 to 3,456, the width"),
        ({"interaction": "dcn", "cross_layers": 3, "cross_rank": 3457}, "cross_rank=3457 must be from 1 to 3,456"),
        ({"interaction": "dcn", "cross_layers": 3, "cross_rank": -1}, "cross_rank=-1 must be from 1"),
        ({"interaction": "dcn", "cross_layers": 1.5, "cross_rank": 3}, "cross_layers=1.5 must be"),
        (
            {"interaction": "dcn", "cross_layers": 3, "cross_rank": 3, "self_interaction": True},
            "self_interaction=True needs interaction='dot', not 'dcn'",
        ),
        ({"self_interaction": 1}, "self_interaction=1 must be true or false"),
        ({"loss_threshold": "0.1"}, "loss_threshold='0.1' must be a number"),
        ({"table_sizes": 3}, "table_sizes=3 must be a list of whole numbers"),
        ({"table_sizes": "33"}, "table_sizes='33' must be a list of whole numbers"),
        ({"table_sizes": (3, True)}, r"table_sizes\[1\]=True must be a whole number"),
        ({"embedding_dim": 128.0}, "embedding_dim=128.0 must be a whole number"),
        ({"loss_threshold": 0.5}, "loss_threshold=0.5 must be 0"),
        ({"loss_threshold": -0.1}, "loss_threshold=-0.1"),
        ({"loss_threshold": float("nan")}, "loss_threshold=nan"),
    ],
)
def test_numbers_that_make_no_network_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(MLPERF, **changes)  # type: ignore[arg-type]


def test_missing_and_unknown_keys_are_named() -> None:
    values = MLPERF.to_dict()
    with pytest.raises(ConfigurationError, match="depth: 3 must be removed: unknown field"):
        Architecture.from_dict(values | {"depth": 3})
    del values["top_mlp"]
    with pytest.raises(ConfigurationError, match="top_mlp is missing"):
        Architecture.from_dict(values)
