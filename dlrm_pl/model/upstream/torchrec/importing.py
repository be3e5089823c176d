"""Import a checkpoint of TorchRec's DLRM (version 1) or DLRM_DCN (version 2), table by table, whatever its size.

The checkpoint is a state dict in a ``torch.save`` file, by itself or as an entry of a dict; or it is a folder of
``torch.distributed.checkpoint`` or torchsnapshot, whose tables may be sharded by table, row or column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.checked_tensor import CheckedTensor
from dlrm_pl.model.torchrec_names import (
    pair_order,
    select_model,
    state_of,
    table_of,
    table_order,
    to_our_name,
    top_layers,
)
from dlrm_pl.model.upstream.foreign import ForeignCheckpoint
from dlrm_pl.model.upstream.torchrec.shapes import architecture_of
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_folder.dcp import DistributedCheckpoint
from dlrm_pl.torch_folder.dcp_metadata import is_dcp
from dlrm_pl.torch_folder.snapshot import Snapshot, is_snapshot


@dataclass(frozen=True)
class _Opened:
    """What a file or folder holds: the tensors of a model by TorchRec's names, and the names of everything else."""

    format: str
    tensors: Mapping[str, FileTensor]
    left_out: list[str]


class TorchRecCheckpoint(ForeignCheckpoint):
    """An opened checkpoint of TorchRec's DLRM.

    Args:
        path: a ``torch.save`` file, or a folder of ``torch.distributed.checkpoint`` or torchsnapshot.

    Raises:
        CheckpointError: the checkpoint is unreadable or incomplete, or holds another model.
    """

    def __init__(self, path: Path) -> None:
        opened = _open(path)
        try:
            names = [name for name in map(table_of, opened.tensors) if name is not None]
            tables, by_number = table_order(names)
            layers = top_layers(opened.tensors)
            places = {name: place for place, name in enumerate(tables)}
            ours = {name: to_our_name(name, places, layers) for name in opened.tensors}
            if not tables:
                raise CheckpointError("has no tables: the checkpoint is incomplete.")
            shape = architecture_of({ours[name]: tensor for name, tensor in opened.tensors.items()}, tables, layers)
            tensors = {
                ours[name]: CheckedTensor(name, tensor, columns=_columns(ours[name], shape))
                for name, tensor in opened.tensors.items()
            }
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        remarks = _remarks(names, tables, by_number)
        super().__init__(path, opened.format, shape, tensors, {}, opened.left_out, remarks)


def _columns(name: str, architecture: Architecture) -> Tensor | None:
    """Return the order of the first top layer's inputs: the dense vector, and the dot products in our order."""
    if name != "top_mlp.0.weight" or architecture.interaction != "dot":
        return None
    width = architecture.embedding_dim
    return torch.tensor([*range(width), *(width + place for place in pair_order(architecture.num_tables))])


def _remarks(names: Sequence[str], tables: Sequence[str], by_number: bool) -> list[str]:
    listed = ", ".join(tables[:5]) + (f", ... {tables[-1]}" if len(tables) > 5 else "")
    if not by_number:
        return [
            "the names of its tables have no numbers, so the tables are kept in the order of the checkpoint: "
            f"{listed}. This must be the order of the model's tables and of the dataset's columns."
        ]
    if list(names) != list(tables):
        return [f"its tables are sorted by their numbers: {listed}."]
    return []


def _open(path: Path) -> _Opened:
    if path.is_dir():
        return _open_folder(path)
    try:
        file = TorchFile.open(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error} Give the state_dict() of a TorchRec model, saved by torch.save.") from error
    contents = file.contents
    try:
        if not isinstance(contents, dict):
            raise CheckpointError(f"holds a {type(contents).__name__}, not a state_dict.")
        state = state_of(contents)
        model = select_model(name for name in state if isinstance(name, str))
        if strange := [name for name in model.values() if not isinstance(state[name], FileTensor)]:
            raise CheckpointError(f"{strange[0]!r} is a {type(state[strange[0]]).__name__}, not a tensor.")
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    others = [] if state is contents else [str(name) for name, value in contents.items() if value is not state]
    others += [str(name) for name in state if name not in model.values()]
    return _Opened(file.format, {name: state[stored] for name, stored in model.items()}, others)


def _open_folder(path: Path) -> _Opened:
    if is_snapshot(path):
        folder: DistributedCheckpoint | Snapshot = Snapshot(path)
    elif is_dcp(path):
        folder = DistributedCheckpoint(path)
    else:
        raise CheckpointError(
            f"{path}: is a folder without .metadata or .snapshot_metadata. Give the folder that "
            "torch.distributed.checkpoint or torchsnapshot wrote."
        )
    try:
        model = select_model(folder.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    opened = folder.open(model.values())
    others = [*folder.others, *(name for name in folder.tensors if name not in opened)]
    kind = "snapshot" if isinstance(folder, Snapshot) else "dcp"
    return _Opened(kind, {name: opened[stored] for name, stored in model.items()}, others)
