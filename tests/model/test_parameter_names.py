"""The map between the reference's names and ours, and the architecture derived from shapes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.parameter_names import (
    architecture_of,
    to_our_name,
    to_upstream,
    to_upstream_name,
)

SMALL = Architecture(table_sizes=(5, 3), embedding_dim=4, bottom_mlp=(2, 6, 4), top_mlp=(5, 7, 1))


def upstream_state(architecture: Architecture = SMALL) -> dict[str, Tensor]:
    return to_upstream(DLRM(architecture).state_dict())


def test_a_model_has_the_references_names_and_shapes() -> None:
    """The names in tb00_40M.pt, for smaller numbers."""
    assert {name: tuple(tensor.shape) for name, tensor in upstream_state().items()} == {
        "emb_l.0.weight": (5, 4),
        "emb_l.1.weight": (3, 4),
        "bot_l.0.weight": (6, 2),
        "bot_l.0.bias": (6,),
        "bot_l.2.weight": (4, 6),
        "bot_l.2.bias": (4,),
        "top_l.0.weight": (5, 7),
        "top_l.0.bias": (5,),
        "top_l.2.weight": (7, 5),
        "top_l.2.bias": (7,),
        "top_l.4.weight": (1, 7),
        "top_l.4.bias": (1,),
    }


NAMES = st.one_of(
    st.integers(0, 10**4).map("emb_l.{}.weight".format),
    st.builds(
        "{}.{}.{}".format,
        st.sampled_from(["bot_l", "top_l"]),
        st.integers(0, 500).map(lambda i: 2 * i),
        st.sampled_from(["weight", "bias"]),
    ),
)


@settings(deadline=None)
@given(names=st.sets(NAMES))
def test_names_map_one_to_one(names: set[str]) -> None:
    ours = {to_our_name(name) for name in names}
    assert len(ours) == len(names)
    assert {to_upstream_name(name) for name in ours} == names


def test_tensors_are_shared_both_ways() -> None:
    state = DLRM(SMALL).state_dict()
    back = {to_our_name(name): tensor for name, tensor in to_upstream(state).items()}
    assert {name: tensor.data_ptr() for name, tensor in back.items()} == {
        name: tensor.data_ptr() for name, tensor in state.items()
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emb_l.0.weight_q", r"'emb_l.0.weight_q' belongs to quotient-remainder tables \(--qr-flag\)"),
        ("emb_l.3.weight_r", "'emb_l.3.weight_r' belongs to quotient"),
        ("emb_l.0.embs.weight", "'emb_l.0.embs.weight' belongs to mixed-dimension tables"),
        ("emb_l.0.proj.weight", "'emb_l.0.proj.weight' belongs to mixed-dimension tables"),
        ("v_W_l.0", "'v_W_l.0' belongs to weighted pooling"),
        ("bot_l.1.0.weight", "'bot_l.1.0.weight' belongs to a quantized or prepared model"),
        ("top_l.0.scale", "'top_l.0.scale' belongs to a quantized"),
        ("bot_l.1.weight", "'bot_l.1.weight' is not a parameter"),
        ("bot_l.02.weight", "'bot_l.02.weight' is not a parameter"),
        ("emb_l.0.bias", "'emb_l.0.bias' is not a parameter"),
        ("module.emb_l.0.weight", "'module.emb_l.0.weight' is not a parameter"),
        ("bottom_mlp.0.weight", "'bottom_mlp.0.weight' is not a parameter"),
    ],
)
def test_foreign_reference_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        to_our_name(name)


@pytest.mark.parametrize("name", ["emb_l.0.weight", "bottom_mlp.1.weight", "model.bottom_mlp.0.weight", "tables.0"])
def test_foreign_names_of_ours_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"'{name}' is not a parameter"):
        to_upstream({name: torch.zeros(1)})


@pytest.mark.parametrize(
    "architecture",
    [
        SMALL,
        replace(SMALL, self_interaction=True),
        replace(SMALL, interaction="cat"),
        replace(SMALL, bottom_mlp=(13, 4), top_mlp=(1,)),
        replace(SMALL, table_sizes=tuple(range(1, 13))),  # Ten tables and more: names are sorted by number.
    ],
)
def test_architecture_is_read_off_the_shapes(architecture: Architecture) -> None:
    assert architecture_of(upstream_state(architecture)) == architecture


def test_an_ambiguous_interaction_must_be_said() -> None:
    """With one table of dimension 1, both dot and cat give 1 + 1 inputs."""
    architecture = Architecture(table_sizes=(3,), embedding_dim=1, bottom_mlp=(2, 1), top_mlp=(1,))
    state = upstream_state(architecture)
    with pytest.raises(
        CheckpointError, match=r"takes 2 inputs, which fits dot with .*False or cat with .* State interaction"
    ):
        architecture_of(state)
    assert architecture_of(state, interaction="dot") == architecture
    assert architecture_of(state, interaction="cat").interaction == "cat"
    with pytest.raises(CheckpointError, match="takes 2 inputs, but no interaction"):
        architecture_of(state, self_interaction=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emb_l.0.weight": None}, "'emb_l.0.weight' is missing"),
        ({"emb_l.0.weight": None, "emb_l.1.weight": None}, "'emb_l.0.weight' is missing"),
        ({"bot_l.0.weight": None}, "'bot_l.2.weight' is missing|'bot_l.0.weight' is missing"),
        ({"bot_l.2.bias": None}, "'bot_l.2.bias' is missing"),
        ({"top_l.6.bias": (1,)}, "top_l has 4 biases, but 3 weights"),
        ({"emb_l.1.weight": (3, 5)}, r"emb_l.1.weight has dimension 5, but emb_l\.0\.weight has 4"),
        ({"emb_l.1.weight": (3,)}, r"emb_l.1.weight has shape \[3\], but 2 dimensions are expected"),
        ({"bot_l.0.bias": (7,)}, "bot_l.0.bias has 7 values, but bot_l.0.weight has 6 outputs"),
        ({"bot_l.2.weight": (4, 5)}, "bot_l.2.weight takes 5 inputs, but the layer before it has 6"),
        ({"top_l.0.weight": (5, 8)}, "top_l.0.weight takes 8 inputs, but no interaction of 2 tables"),
        ({"top_l.4.weight": (2, 7), "top_l.4.bias": (2,)}, "do not form a DLRM: .*must end in 1"),
        ({"top_l.1.scale": (1,)}, "'top_l.1.scale' belongs to a quantized"),
    ],
)
def test_shapes_that_make_no_dlrm_are_named(changes: dict[str, tuple[int, ...] | None], message: str) -> None:
    state = upstream_state()
    for name, shape in changes.items():
        if shape is None:
            del state[name]
        else:
            state[name] = torch.zeros(shape)
    with pytest.raises(CheckpointError, match=message):
        architecture_of(state)
