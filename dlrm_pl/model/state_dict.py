"""Reference names <-> our names; the only file that knows bot_l, top_l, emb_l."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.architecture import Architecture, Interaction

# (reference, ours); MLP layers have the same numbers in both, since a ReLU follows every Linear.
_PATTERNS = (
    (r"bot_l\.(\d+)\.(weight|bias)", r"bottom_mlp.\1.\2"),
    (r"top_l\.(\d+)\.(weight|bias)", r"top_mlp.\1.\2"),
    (r"emb_l\.(\d+)\.weight", r"embedding_bags.tables.\1"),
)
_OURS = (
    (r"bottom_mlp\.(\d+)\.(weight|bias)", r"bot_l.\1.\2"),
    (r"top_mlp\.(\d+)\.(weight|bias)", r"top_l.\1.\2"),
    (r"embedding_bags\.tables\.(\d+)", r"emb_l.\1.weight"),
)
_REFUSED = (
    (r"emb_l\.\d+\.weight_[qr]", "a quotient-remainder table (--qr-flag)"),
    (r"emb_l\.\d+\.(embs|proj)\..*", "a mixed-dimension table (--md-flag)"),
    (r"v_W_l\..*", "weighted pooling (--weighted-pooling)"),
)


def to_our_name(name: str) -> str:
    """``emb_l.3.weight`` -> ``embedding_bags.tables.3``.

    Raises:
        CheckpointError: a name that has no counterpart; says what it belongs to where that is known.
    """
    return _renamed(name, _PATTERNS)


def to_reference_name(name: str) -> str:
    """The inverse of ``to_our_name``.

    Raises:
        CheckpointError: a name that is not ours.
    """
    return _renamed(name, _OURS)


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a reference state dict; tensors are shared.

    Raises:
        CheckpointError: see ``to_our_name``.
    """
    return {to_our_name(name): tensor for name, tensor in state.items()}


def to_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our state dict; tensors are shared.

    Raises:
        CheckpointError: see ``to_reference_name``.
    """
    return {to_reference_name(name): tensor for name, tensor in state.items()}


def architecture_of(state: Mapping[str, Tensor]) -> Architecture:
    """Read the architecture off the shapes of a reference state dict.

    Raises:
        CheckpointError: names or shapes of no DLRM.
    """
    ours = from_reference(state)
    tables = {int(name.rsplit(".", 1)[1]): tensor for name, tensor in ours.items() if ".tables." in name}
    bottom, top = (_linears(ours, part) for part in ("bottom_mlp", "top_mlp"))
    if not tables or not bottom or not top:
        raise CheckpointError(f"{len(tables)} tables, {len(bottom)} bottom and {len(top)} top Linears make no DLRM.")
    dim, inputs = bottom[-1].shape[0], top[0].shape[1]
    for interaction, itself in (("dot", False), ("dot", True), ("cat", False)):
        kind: Interaction = "dot" if interaction == "dot" else "cat"
        architecture = Architecture(
            table_sizes=tuple(tables[index].shape[0] for index in sorted(tables)),
            embedding_dim=dim,
            bottom_mlp=(bottom[0].shape[1], *(linear.shape[0] for linear in bottom)),
            top_mlp=tuple(linear.shape[0] for linear in top),
            interaction=kind,
            self_interaction=itself,
        )
        if architecture.interaction_width == inputs:
            return architecture
    raise CheckpointError(f"The top MLP takes {inputs} inputs, which fits no interaction of {len(tables)} tables.")


def _linears(state: Mapping[str, Tensor], part: str) -> list[Tensor]:
    """Weights of an MLP in order."""
    found = {int(m[1]): t for name, t in state.items() if (m := re.fullmatch(rf"{part}\.(\d+)\.weight", name))}
    return [found[index] for index in sorted(found)]


def _renamed(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in patterns:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    for pattern, what in _REFUSED:
        if re.fullmatch(pattern, name):
            raise CheckpointError(f"The checkpoint has {name!r}, {what}, which this program does not support.")
    raise CheckpointError(f"The checkpoint has {name!r}, which is no parameter of a DLRM.")
