"""Parameter names of upstream (facebookresearch/dlrm) and ours; the only file that knows bot_l, top_l and emb_l.

========================  ====================================  ==============
upstream                  ours                                  shape
========================  ====================================  ==============
``emb_l.{k}.weight``      ``embedding_bags.tables.{k}.weight``  ``[rows, D]``
``bot_l.{2i}.weight``     ``bottom_mlp.{2i}.weight``            ``[out, in]``
``bot_l.{2i}.bias``       ``bottom_mlp.{2i}.bias``              ``[out]``
``top_l.{2i}.weight``     ``top_mlp.{2i}.weight``               ``[out, in]``
``top_l.{2i}.bias``       ``top_mlp.{2i}.bias``                 ``[out]``
========================  ====================================  ==============

Row weights (``--weighted-pooling``) are ``v_W_l.{k}``: ``[rows]``; an import multiplies them into the tables. The
layers with odd numbers are activations and have no parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.architecture import Architecture, Interaction

WEIGHT_KEY = "embedding_bags.row_weights.{}.weight"
"""Name of a table's row weights in the state dict of a ``DLRM``, with a placeholder for the table's number."""

_NUMBER = r"(?:0|[1-9]\d*)"
_EVEN = r"(?:[02468]|[1-9]\d*[02468])"
_OUR_MLP = {"bot_l": "bottom_mlp", "top_l": "top_mlp"}
_UPSTREAM_MLP = {ours: upstream for upstream, ours in _OUR_MLP.items()}

_UPSTREAM_TABLE = re.compile(rf"emb_l\.({_NUMBER})\.weight")
_UPSTREAM_LAYER = re.compile(rf"(bot_l|top_l)\.({_EVEN})\.(weight|bias)")
_OUR_TABLE = re.compile(rf"embedding_bags\.tables\.({_NUMBER})\.weight")
_OUR_LAYER = re.compile(rf"(bottom_mlp|top_mlp)\.({_EVEN})\.(weight|bias)")

# Names that upstream writes in other modes, and the options that make it do so.
_OTHER_MODES = (
    (re.compile(r"emb_l\.\d+\.weight_[qr]"), "quotient-remainder tables (--qr-flag)"),
    (re.compile(r"emb_l\.\d+\.(embs|proj)\."), "mixed-dimension tables (--md-flag)"),
    (re.compile(r"v_W_l\."), "weighted pooling (--weighted-pooling)"),
    (re.compile(r"(bot_l|top_l)\.\d+\.(\d+\.|scale|zero_point|_packed_params)"), "a quantized or prepared model"),
)


class HasShape(Protocol):
    """A tensor, or the description of a tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""


def is_upstream_checkpoint(checkpoint: Mapping[Any, Any]) -> bool:
    """Tell whether a file's contents are an upstream checkpoint: a dict with its state dict, or only the latter."""
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping):
        return False
    return any(re.match(r"(emb_l|bot_l|top_l|v_W_l)\.", without_wrapper(str(name))) for name in state)


def without_wrapper(name: str) -> str:
    """Remove the prefix that DataParallel (model) or DistributedDataParallel (MLP) adds to a name."""
    return re.sub(r"^(bot_l|top_l)\.module\.", r"\1.", name.removeprefix("module."))


def row_weights_of(state_dict: Mapping[str, HasShape]) -> dict[str, str]:
    """Map upstream's name of each table to the name of its row weights, which belong to weighted pooling.

    Args:
        state_dict: state dict with upstream's names.

    Raises:
        CheckpointError: only some tables have row weights, or there are row weights without a table.
    """
    weights = {f"emb_l.{name.removeprefix('v_W_l.')}.weight": name for name in state_dict if name.startswith("v_W_l.")}
    tables = {name for name in state_dict if _UPSTREAM_TABLE.fullmatch(name)}
    if weights and (odd := sorted(weights.keys() ^ tables)):
        raise CheckpointError(
            f"{odd[0]} has no row weights, but other tables do: the checkpoint is incomplete."
            if odd[0] in tables
            else f"{weights[odd[0]]!r} does not belong to any table: the checkpoint is incomplete."
        )
    return weights


def own_row_weights_of(state_dict: Mapping[str, Any]) -> dict[str, str]:
    """Map our name of each table in a state dict to the name of its row weights; empty if there are none."""
    tables = (match for match in map(_OUR_TABLE.fullmatch, state_dict) if match)
    names = {match[0]: WEIGHT_KEY.format(match[1]) for match in tables}
    return {table: weights for table, weights in names.items() if weights in state_dict}


def upstream_ops(architecture: Architecture, *, stubbed: bool = False) -> dict[str, str]:
    """Map upstream's modules with weights to our ops: ``bot_l.2``, the second Linear, to ``bottom_mlp.1``.

    Args:
        architecture: shape of the model.
        stubbed: use the names that modules have after a QuantStub was inserted before each MLP, which shifts their
            numbers by one.
    """
    linears = {"bottom_mlp": len(architecture.bottom_mlp) - 1, "top_mlp": len(architecture.top_mlp)}
    return {
        **{
            f"{_UPSTREAM_MLP[mlp]}.{2 * index + stubbed}": f"{mlp}.{index}"
            for mlp, count in linears.items()
            for index in range(count)
        },
        **{f"emb_l.{index}": f"tables.{index}" for index in range(architecture.num_tables)},
    }


def to_our_name(name: str) -> str:
    """Translate upstream's name of a parameter to ours.

    Raises:
        CheckpointError: the name is not one of a plain DLRM; the message says which mode of upstream writes it, if one
            does.
    """
    if match := _UPSTREAM_TABLE.fullmatch(name):
        return f"embedding_bags.tables.{match[1]}.weight"
    if match := _UPSTREAM_LAYER.fullmatch(name):
        return f"{_OUR_MLP[match[1]]}.{match[2]}.{match[3]}"
    for pattern, mode in _OTHER_MODES:
        if pattern.match(name):
            raise CheckpointError(f"{name!r} belongs to {mode}, which is not supported. Use a plain checkpoint.")
    raise CheckpointError(
        f"{name!r} is not a parameter of facebookresearch/dlrm, where names are like emb_l.0.weight, bot_l.0.weight "
        "and top_l.0.bias. Is this the state_dict of another program?"
    )


def to_upstream_name(name: str) -> str:
    """Translate our name of a parameter to upstream's; the inverse of ``to_our_name``.

    Raises:
        CheckpointError: the name is not one of a DLRM.
    """
    if match := _OUR_TABLE.fullmatch(name):
        return f"emb_l.{match[1]}.weight"
    if match := _OUR_LAYER.fullmatch(name):
        return f"{_UPSTREAM_MLP[match[1]]}.{match[2]}.{match[3]}"
    raise CheckpointError(
        f"{name!r} is not a parameter of a DLRM, where names are like embedding_bags.tables.0.weight and "
        "bottom_mlp.0.weight."
    )


def to_upstream(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the state dict of a ``DLRM`` to upstream's names; the tensors are shared.

    Raises:
        CheckpointError: a key is not a parameter of a DLRM.
    """
    return {to_upstream_name(name): tensor for name, tensor in state_dict.items()}


def architecture_of(
    state_dict: Mapping[str, HasShape], *, interaction: Interaction | None = None, self_interaction: bool | None = None
) -> Architecture:
    """Derive the architecture from the shapes in a state dict of upstream.

    Args:
        state_dict: state dict with upstream's names; only shapes are read.
        interaction: kind of interaction; needed only if the width of the top MLP fits more than one.
        self_interaction: whether vectors interact with themselves; needed only if the width fits both cases.

    Returns:
        The architecture, with ``loss_threshold`` 0, since weights do not reveal it.

    Raises:
        CheckpointError: a key is missing or unknown, its shape does not fit, or the interaction is ambiguous.
    """
    shapes = {to_our_name(name): tuple(tensor.shape) for name, tensor in state_dict.items()}
    tables = _tables(shapes)
    bottom, top = _widths(shapes, "bottom_mlp"), _widths(shapes, "top_mlp")
    fitting = []
    for kind, itself in (("dot", False), ("dot", True), ("cat", False)):
        if interaction not in (None, kind) or self_interaction not in (None, itself):
            continue
        try:
            candidate = Architecture(
                table_sizes=tuple(rows for rows, _ in tables),
                embedding_dim=tables[0][1],
                bottom_mlp=bottom,
                top_mlp=top[1:],
                interaction="dot" if kind == "dot" else "cat",
                self_interaction=itself,
            )
        except ConfigurationError as error:
            raise CheckpointError(f"The shapes in the checkpoint do not form a DLRM: {error}") from error
        if candidate.interaction_width == top[0]:
            fitting.append(candidate)
    if not fitting:
        raise CheckpointError(
            f"top_l.0.weight takes {top[0]} inputs, but no interaction of {len(tables)} tables of dimension "
            f"{tables[0][1]} gives that number."
        )
    if len(fitting) > 1:
        kinds = " or ".join(f"{shape.interaction} with self_interaction={shape.self_interaction}" for shape in fitting)
        raise CheckpointError(
            f"top_l.0.weight takes {top[0]} inputs, which fits {kinds}. State interaction and self_interaction."
        )
    return fitting[0]


def _tables(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, int]]:
    """Return rows and dimension of every table, in order."""
    count = sum(name.startswith("embedding_bags.") for name in shapes)
    tables: list[tuple[int, int]] = []
    for table in range(max(count, 1)):
        shape = _shape(shapes, f"embedding_bags.tables.{table}.weight", 2)
        if tables and shape[1] != tables[0][1]:
            raise CheckpointError(
                f"emb_l.{table}.weight has dimension {shape[1]}, but emb_l.0.weight has {tables[0][1]}. Tables of "
                "mixed dimensions are not supported."
            )
        tables.append((shape[0], shape[1]))
    return tables


def _widths(shapes: Mapping[str, tuple[int, ...]], mlp: str) -> tuple[int, ...]:
    """Return the widths of an MLP, including its input."""
    count = sum(name.startswith(f"{mlp}.") and name.endswith(".weight") for name in shapes)
    widths: list[int] = []
    for layer in range(0, 2 * max(count, 1), 2):
        outputs, inputs = _shape(shapes, f"{mlp}.{layer}.weight", 2)
        (bias,) = _shape(shapes, f"{mlp}.{layer}.bias", 1)
        name = f"{_UPSTREAM_MLP[mlp]}.{layer}"
        if bias != outputs:
            raise CheckpointError(f"{name}.bias has {bias} values, but {name}.weight has {outputs} outputs.")
        if widths and inputs != widths[-1]:
            raise CheckpointError(
                f"{name}.weight takes {inputs} inputs, but the layer before it has {widths[-1]} outputs."
            )
        widths += [outputs] if widths else [inputs, outputs]
    biases = sum(name.startswith(f"{mlp}.") and name.endswith(".bias") for name in shapes)
    if biases > count:
        raise CheckpointError(f"{_UPSTREAM_MLP[mlp]} has {biases} biases, but {count} weights.")
    return tuple(widths)


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a parameter that must exist and have this number of dimensions."""
    if name not in shapes:
        raise CheckpointError(f"{to_upstream_name(name)!r} is missing: the checkpoint is incomplete.")
    if len(shapes[name]) != dimensions:
        raise CheckpointError(
            f"{to_upstream_name(name)} has shape {list(shapes[name])}, but {dimensions} dimensions are expected."
        )
    return shapes[name]
