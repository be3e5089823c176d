"""The map between TorchRec's names and ours, and the order of its dot products."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.torchrec_names import (
    is_torchrec_checkpoint,
    pair_order,
    select_model,
    split_wrappers,
    state_of,
    table_order,
    to_our_name,
    to_torchrec_name,
)
from dlrm_pl.model.upstream.foreign import parameter_names
from tests.support.files.torchrec_states import TABLES, V1, V2, torchrec_state


def test_a_model_of_version_2_has_torchrecs_names_and_shapes() -> None:
    """The names in ``torchrec.models.dlrm.DLRM_DCN`` of torchrec 1.8.0."""
    assert {name: tuple(tensor.shape) for name, tensor in torchrec_state(V2).items()} == {
        f"{TABLES}.t_cat_0.weight": (6, 4),
        f"{TABLES}.t_cat_1.weight": (5, 4),
        f"{TABLES}.t_cat_2.weight": (9, 4),
        "dense_arch.model._mlp.0._linear.weight": (8, 3),
        "dense_arch.model._mlp.0._linear.bias": (8,),
        "dense_arch.model._mlp.1._linear.weight": (4, 8),
        "dense_arch.model._mlp.1._linear.bias": (4,),
        "inter_arch.crossnet.V_kernels.0": (3, 16),
        "inter_arch.crossnet.V_kernels.1": (3, 16),
        "inter_arch.crossnet.W_kernels.0": (16, 3),
        "inter_arch.crossnet.W_kernels.1": (16, 3),
        "inter_arch.crossnet.bias.0": (16,),
        "inter_arch.crossnet.bias.1": (16,),
        "over_arch.model.0._mlp.0._linear.weight": (7, 16),
        "over_arch.model.0._mlp.0._linear.bias": (7,),
        "over_arch.model.0._mlp.1._linear.weight": (5, 7),
        "over_arch.model.0._mlp.1._linear.bias": (5,),
        "over_arch.model.1.weight": (1, 5),
        "over_arch.model.1.bias": (1,),
    }


@settings(deadline=None)
@given(tables=st.integers(1, 30), bottom=st.integers(1, 5), top=st.integers(2, 6), layers=st.integers(0, 12))
def test_names_map_one_to_one(tables: int, bottom: int, top: int, layers: int) -> None:
    shape = Architecture(
        table_sizes=(2,) * tables,
        embedding_dim=2,
        bottom_mlp=(3,) * bottom + (2,),
        top_mlp=(3,) * (top - 1) + (1,),
        interaction="dcn" if layers else "dot",
        cross_layers=layers,
        cross_rank=min(layers, 1),
    )
    named = [f"feature {table} of them" for table in range(tables)]
    ours = parameter_names(shape)
    theirs = [to_torchrec_name(name, named, top) for name in ours]
    assert len(set(theirs)) == len(ours)
    places = {name: place for place, name in enumerate(named)}
    assert [to_our_name(name, places, top) for name in theirs] == ours


@pytest.mark.parametrize("shape", [V1, V2], ids=["v1", "v2"])
def test_parameter_names_are_those_of_the_model_in_its_order(shape: Architecture) -> None:
    with torch.device("meta"):
        model = DLRM(shape)
    assert parameter_names(shape) == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("tables", [1, 2, 3, 26])
def test_pairs_are_those_of_the_upper_triangle(tables: int) -> None:
    """TorchRec flattens the triangle above the diagonal, upstream the one below it."""
    products = np.arange((tables + 1) ** 2).reshape(tables + 1, tables + 1)
    symmetric = np.minimum(products, products.T)
    theirs = symmetric[np.triu_indices(tables + 1, 1)]
    ours = symmetric[np.tril_indices(tables + 1, -1)]
    np.testing.assert_array_equal(theirs[pair_order(tables)], ours)


@pytest.mark.parametrize(
    "wrapped",
    [
        "module.model.over_arch.model.1.bias",
        "_dmp_wrapped_module.module.dlrm_module.over_arch.model.1.bias",
        "over_arch.module.model.1.bias",
        "_orig_mod.over_arch._orig_mod.model.1.bias",
    ],
)
def test_wrappers_are_removed(wrapped: str) -> None:
    split = split_wrappers(wrapped)
    assert split is not None
    assert split[1] == "over_arch.model.1.bias"


def test_states_of_an_optimizer_are_left_out() -> None:
    state = torchrec_state(V2, "model.")
    momenta = [f"optimizer.state.{name}.momentum" for name in state]
    assert sorted(select_model([*momenta, *state]).values()) == sorted(state)


def test_two_models_are_refused() -> None:
    names = [*torchrec_state(V2, "model."), *torchrec_state(V2, "average.")]
    with pytest.raises(CheckpointError, match="holds 2 models, under 'average' and 'model'"):
        select_model(names)


def test_a_parameter_that_occurs_twice_is_refused() -> None:
    names = [*torchrec_state(V2), "over_arch.module.model.1.bias"]
    with pytest.raises(CheckpointError, match=r"occurs twice, as 'over_arch.model.1.bias' and as 'over_arch.module"):
        select_model(names)


def test_the_state_dict_is_found_within_a_dict() -> None:
    state = torchrec_state(V1)
    for contents in (state, {"state_dict": state, "epoch": 1}, {"optimizer": {"over_arch.lr": 1}, "model": state}):
        assert is_torchrec_checkpoint(contents)
        assert state_of(contents) is state
    assert not is_torchrec_checkpoint({"state_dict": {"emb_l.0.weight": state}})


def test_tables_are_put_in_the_order_of_their_numbers() -> None:
    assert table_order(["t_cat_10", "t_cat_2", "t_cat_0"]) == (["t_cat_0", "t_cat_2", "t_cat_10"], True)
    assert table_order(["user", "item"]) == (["user", "item"], False)
    assert table_order(["user_2", "item_1"]) == (["user_2", "item_1"], False)
    assert table_order(["t1", "t01"]) == (["t1", "t01"], False)


def test_a_name_of_another_program_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"'emb_l.0.weight' is not a parameter of TorchRec's DLRM"):
        to_our_name("emb_l.0.weight", {}, 3)
    with pytest.raises(CheckpointError, match=r"'top_mlp.1.weight' is not a parameter of a DLRM"):
        to_torchrec_name("top_mlp.1.weight", [], 3)
