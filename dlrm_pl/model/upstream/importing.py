"""Import a checkpoint of upstream (facebookresearch/dlrm), table by table, whatever its size.

Upstream saves a dict with ``state_dict`` and, depending on its version, numbers about the training such as ``epoch``,
``iter``, ``test_acc`` and ``test_auc``, any of which may be missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.architecture import Interaction
from dlrm_pl.model.checkpoints.checked_tensor import CheckedTensor
from dlrm_pl.model.checkpoints.contract import KEY
from dlrm_pl.model.parameter_names import (
    architecture_of,
    is_upstream_checkpoint,
    row_weights_of,
    to_our_name,
    without_wrapper,
)
from dlrm_pl.model.upstream.foreign import ForeignCheckpoint
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.plain import replace_leaves
from dlrm_pl.torch_file.stored import StoredTensor

_LONGEST_ARRAY = 10_000  # Arrays up to this length are kept as lists of numbers.


class UpstreamCheckpoint(ForeignCheckpoint):
    """An opened checkpoint of upstream.

    Args:
        path: the file, in either of torch's formats.
        interaction: kind of interaction; needed only if the width of the top MLP fits more than one.
        self_interaction: whether vectors interact with themselves; needed only if the width fits both cases.
        loss_threshold: value of upstream's ``--loss-threshold``, which it does not save.

    Raises:
        CheckpointError: the file is unreadable or incomplete, is not an upstream checkpoint, or was written in a mode
            that is not supported.
    """

    def __init__(
        self,
        path: Path,
        *,
        interaction: Interaction | None = None,
        self_interaction: bool | None = None,
        loss_threshold: float = 0.0,
    ) -> None:
        try:
            file = TorchFile.open(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error} Give a complete file that facebookresearch/dlrm saved.") from error
        try:
            state, others = _parts(file.contents)
            shapes = {name: tensor for name, tensor in state.items() if isinstance(tensor, StoredTensor)}
            if strange := [name for name in state if name not in shapes]:
                raise CheckpointError(
                    f"{strange[0]!r} in its state_dict is a {type(state[strange[0]]).__name__}, not a tensor."
                )
            weights = row_weights_of(shapes)
            shapes = {name: tensor for name, tensor in shapes.items() if name not in weights.values()}
            shape = architecture_of(shapes, interaction=interaction, self_interaction=self_interaction)
            tensors = {
                to_our_name(name): CheckedTensor(name, tensor, state[weights[name]] if name in weights else None)
                for name, tensor in shapes.items()
            }
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        metadata, left_out = _plain_entries(others)
        super().__init__(
            path,
            file.format,
            dataclasses.replace(shape, loss_threshold=loss_threshold),
            tensors,
            metadata,
            left_out,
            ["the weights of --weighted-pooling are multiplied into the tables."] if weights else (),
        )


def _parts(contents: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a file's contents into the state dict, without the prefixes of wrappers, and the other entries."""
    if not isinstance(contents, dict):
        raise CheckpointError(f"holds a {type(contents).__name__}, not a checkpoint of facebookresearch/dlrm.")
    if KEY in contents:
        raise CheckpointError("is already a checkpoint of dlrm_pl and does not need to be imported.")
    if not is_upstream_checkpoint(contents):
        raise CheckpointError(
            "is not a checkpoint of facebookresearch/dlrm: a state_dict with its layer names is expected, but the "
            f"file holds {', '.join(sorted(map(str, contents))[:8]) or 'nothing'}."
        )
    state = contents.get("state_dict", contents)
    plain: dict[str, Any] = {}
    for name, value in state.items():
        short = without_wrapper(str(name))
        if short in plain:
            raise CheckpointError(f"{short!r} occurs twice, with and without 'module.'.")
        plain[short] = value
    return plain, {str(name): value for name, value in contents.items() if state is not contents and value is not state}


def _plain_entries(entries: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split entries into those with plain values, and the names of the others."""
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in entries.items():
        try:
            kept[name] = replace_leaves(value, (StoredTensor, np.ndarray), _plain)
        except _NotPlainError:
            left_out.append(name)
    return kept, left_out


class _NotPlainError(Exception):
    """A tensor or a long array, which is not kept as plain numbers."""


def _plain(value: StoredTensor | np.ndarray[Any, Any]) -> Any:
    """Turn a tensor of one element into its number, and a short array into a list."""
    if isinstance(value, StoredTensor):
        if value.numel() != 1:
            raise _NotPlainError
        return value.read().item()
    if value.size > _LONGEST_ARRAY:
        raise _NotPlainError
    return value.tolist()
