"""Parameter names of TorchRec's DLRM and ours; the only file that knows sparse_arch, dense_arch and over_arch.

==============================================================  ====================================  ==============
TorchRec                                                        ours                                  shape
==============================================================  ====================================  ==============
``sparse_arch.embedding_bag_collection.embedding_bags.{name}``  ``embedding_bags.tables.{k}.weight``  ``[rows, D]``
``dense_arch.model._mlp.{i}._linear``                           ``bottom_mlp.{2i}``                   ``[out, in]``
``inter_arch.crossnet.V_kernels.{l}``                           ``cross_net.{l}.v.weight``            ``[R, W]``
``inter_arch.crossnet.W_kernels.{l}``                           ``cross_net.{l}.w.weight``            ``[W, R]``
``inter_arch.crossnet.bias.{l}``                                ``cross_net.{l}.w.bias``              ``[W]``
``over_arch.model.0._mlp.{i}._linear``                          ``top_mlp.{2i}``                      ``[out, in]``
``over_arch.model.1``                                           ``top_mlp.{2n}``, the last            ``[1, in]``
==============================================================  ====================================  ==============

Tables have names of their own, ``t_cat_{k}`` in the programs of facebookresearch/dlrm and MLPerf. With ``dot``, the
first layer of the top MLP also has its inputs in another order, see ``pair_order``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlrm_pl.errors import CheckpointError

TABLE_NAME = "t_cat_{}"
"""Name of a table in the programs of facebookresearch/dlrm and MLPerf, with a placeholder for its number."""

_NUMBER = r"(?:0|[1-9]\d*)"
_TABLES = "sparse_arch.embedding_bag_collection.embedding_bags"
_TABLE = re.compile(rf"{re.escape(_TABLES)}\.([^.]+)\.weight")
_BOTTOM = re.compile(rf"dense_arch\.model\._mlp\.({_NUMBER})\._linear\.(weight|bias)")
_CROSS = re.compile(rf"inter_arch\.crossnet\.(V_kernels|W_kernels|bias)\.({_NUMBER})")
_TOP = re.compile(rf"over_arch\.model\.0\._mlp\.({_NUMBER})\._linear\.(weight|bias)")
_LAST = re.compile(r"over_arch\.model\.1\.(weight|bias)")
_PARTS = (_TABLE, _BOTTOM, _CROSS, _TOP, _LAST)
_CROSS_PARTS = {"V_kernels": "v.weight", "W_kernels": "w.weight", "bias": "w.bias"}
_CROSS_NAMES = {ours: theirs for theirs, ours in _CROSS_PARTS.items()}

_OUR_TABLE = re.compile(rf"embedding_bags\.tables\.({_NUMBER})\.weight")
_OUR_LAYER = re.compile(r"(bottom_mlp|top_mlp)\.(0|\d*[02468])\.(weight|bias)")
_OUR_CROSS = re.compile(rf"cross_net\.({_NUMBER})\.(v\.weight|w\.weight|w\.bias)")

# Wrappers that DistributedDataParallel, torch.compile, DistributedModelParallel and DLRMTrain put around a model or a
# part.
_WRAPPERS = {"module", "_orig_mod", "_dmp_wrapped_module"}
_ARCHES = {"sparse_arch", "dense_arch", "inter_arch", "over_arch"}

# Names that other models write.
_OTHER_MODELS = (
    (re.compile(r"inter_arch\.interaction_branch"), "DLRM_Projection, whose interaction has its own MLPs"),
    (re.compile(r"inter_arch\.crossnet\.kernels\."), "a cross network of full rank (CrossNet)"),
    (re.compile(r"inter_arch\.crossnet\.(U_kernels|C_kernels|gates)"), "a mixture of cross networks"),
    (re.compile(rf"{re.escape(_TABLES)}\.[^.]+\.weight_[qr]$"), "quotient-remainder tables"),
    (re.compile(rf"{re.escape(_TABLES)}\.[^.]+\.(tt_)?cores"), "tensor-train tables"),
    (re.compile(r".*(scale|zero_point|_packed_params|weight_qscale|weight_qbias)"), "a quantized model"),
)


def is_torchrec_name(name: object) -> bool:
    """Tell whether a name is one of a parameter of TorchRec's DLRM, or of a model like it, within any wrappers."""
    return isinstance(name, str) and split_wrappers(name) is not None


def is_torchrec_checkpoint(contents: Mapping[Any, Any]) -> bool:
    """Tell whether a dict is, or holds, a state dict of TorchRec's DLRM."""
    return any(map(is_torchrec_name, state_of(contents)))


def state_of(contents: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the state dict in a file's contents: the contents themselves, or an entry of them."""
    inner = [value for value in contents.values() if isinstance(value, Mapping) and any(map(is_torchrec_name, value))]
    models = [state for state in inner if any(_is_known(str(name)) for name in state)]
    if any(map(is_torchrec_name, contents)) or not models:
        return contents
    return models[0]


def split_wrappers(name: str) -> tuple[str, str] | None:
    """Split a name into the prefix before TorchRec's model and the name in the model; None if it has no such part.

    Example:
        >>> from dlrm_pl.model.torchrec_names import split_wrappers
        >>> split_wrappers("module.model.over_arch.model.1.bias")
        ('module.model', 'over_arch.model.1.bias')
    """
    pieces = name.split(".")
    begin = next((index for index, piece in enumerate(pieces) if piece in _ARCHES), None)
    if begin is None:
        return None
    inner = [pieces[begin], *(piece for piece in pieces[begin + 1 :] if piece not in _WRAPPERS)]
    return ".".join(pieces[:begin]), ".".join(inner)


def select_model(names: Iterable[str]) -> dict[str, str]:
    """Map the names in a model, without wrappers, to those in the file; an optimizer's state is left out.

    Args:
        names: all names of a file.

    Raises:
        CheckpointError: there is no model, there are two, or a parameter occurs twice.
    """
    models: dict[str, dict[str, str]] = {}
    for name in names:
        split = split_wrappers(name)
        if split is None:
            continue
        model = models.setdefault(split[0], {})
        if split[1] in model:
            raise CheckpointError(f"{split[1]!r} occurs twice, as {model[split[1]]!r} and as {name!r}.")
        model[split[1]] = name
    models = {prefix: model for prefix, model in models.items() if any(map(_is_parameter, model))}
    if not models:
        raise CheckpointError(
            "is not a checkpoint of TorchRec's DLRM: names like over_arch.model.1.weight and "
            f"{_TABLES}.t_cat_0.weight are expected."
        )
    if len(models) > 1:
        raise CheckpointError(
            f"holds {len(models)} models, under {' and '.join(repr(prefix) for prefix in sorted(models))}. Save one."
        )
    (model,) = models.values()
    return model


def table_order(tables: Sequence[str]) -> tuple[list[str], bool]:
    """Order tables by the number at the end of their names if all have one; otherwise keep the order.

    Args:
        tables: names of the tables, in the order of the file.

    Returns:
        The names, and whether they were ordered by number.
    """
    numbers = [re.fullmatch(r"(.*?)(\d+)", name) for name in tables]
    found = [(match[1], int(match[2])) for match in numbers if match]
    if len(found) < len(tables) or len({stem for stem, _ in found}) > 1 or len(set(found)) < len(found):
        return list(tables), False
    return [name for _, name in sorted(zip(found, tables, strict=True))], True


def table_of(name: str) -> str | None:
    """Return the name of the table that a parameter is the weight of; None for other parameters."""
    match = _TABLE.fullmatch(name)
    return match[1] if match else None


def top_layers(names: Iterable[str]) -> int:
    """Count the layers of the top MLP, whose last layer has a name of its own."""
    return 2 + max((int(match[1]) for match in map(_TOP.fullmatch, names) if match), default=-1)


def to_our_name(name: str, tables: Mapping[str, int], layers: int) -> str:
    """Translate TorchRec's name of a parameter, without wrappers, to ours.

    Args:
        name: TorchRec's name.
        tables: number of each table by its name.
        layers: number of layers of the top MLP.

    Raises:
        CheckpointError: the name is not one of TorchRec's DLRM or DLRM_DCN; the message says which other model has it,
            if any.
    """
    if match := _TABLE.fullmatch(name):
        return f"embedding_bags.tables.{tables[match[1]]}.weight"
    if match := _BOTTOM.fullmatch(name):
        return f"bottom_mlp.{2 * int(match[1])}.{match[2]}"
    if match := _CROSS.fullmatch(name):
        return f"cross_net.{match[2]}.{_CROSS_PARTS[match[1]]}"
    if match := _TOP.fullmatch(name):
        return f"top_mlp.{2 * int(match[1])}.{match[2]}"
    if match := _LAST.fullmatch(name):
        return f"top_mlp.{2 * (layers - 1)}.{match[1]}"
    for pattern, model in _OTHER_MODELS:
        if pattern.match(name):
            raise CheckpointError(f"{name!r} belongs to {model}, which is not supported. Use DLRM or DLRM_DCN.")
    raise CheckpointError(f"{name!r} is not a parameter of TorchRec's DLRM or DLRM_DCN. Is this another model?")


def to_torchrec_name(name: str, tables: Sequence[str], layers: int) -> str:
    """Translate our name of a parameter to TorchRec's; the inverse of ``to_our_name``.

    Args:
        name: our name.
        tables: TorchRec's names of the tables, in order.
        layers: number of layers of the top MLP.

    Raises:
        CheckpointError: the name is not one of a DLRM.
    """
    if match := _OUR_TABLE.fullmatch(name):
        return f"{_TABLES}.{tables[int(match[1])]}.weight"
    if match := _OUR_CROSS.fullmatch(name):
        return f"inter_arch.crossnet.{_CROSS_NAMES[match[2]]}.{match[1]}"
    if match := _OUR_LAYER.fullmatch(name):
        layer = int(match[2]) // 2
        if match[1] == "bottom_mlp":
            return f"dense_arch.model._mlp.{layer}._linear.{match[3]}"
        inner = "1" if layer == layers - 1 else f"0._mlp.{layer}._linear"
        return f"over_arch.model.{inner}.{match[3]}"
    raise CheckpointError(f"{name!r} is not a parameter of a DLRM, such as embedding_bags.tables.0.weight.")


def pair_order(num_tables: int) -> list[int]:
    """Return the position of each of our dot products in TorchRec's order.

    TorchRec orders the pairs of vectors as (0, 1), (0, 2), ..., (1, 2), ...; upstream and this package order them as
    (1, 0), (2, 0), (2, 1), ...

    Example:
        >>> from dlrm_pl.model.torchrec_names import pair_order
        >>> pair_order(3)  # (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)
        [0, 1, 3, 2, 4, 5]

    Source: ``InteractionArch`` of ``torchrec.models.dlrm``.
    """
    vectors = num_tables + 1
    pairs = ((low, high) for low in range(vectors) for high in range(low + 1, vectors))
    places = {pair: place for place, pair in enumerate(pairs)}
    return [places[low, high] for high in range(vectors) for low in range(high)]


def _is_known(name: str) -> bool:
    split = split_wrappers(name)
    return split is not None and _is_parameter(split[1])


def _is_parameter(name: str) -> bool:
    """Tell whether a name in the model is one that ``to_our_name`` translates."""
    return any(pattern.fullmatch(name) for pattern in _PARTS)
