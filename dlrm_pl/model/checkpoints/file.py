"""Open a checkpoint file without reading its tensors, and without importing Lightning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlrm_pl.documents.fields import Count, Partial, make, shown
from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.sharded.folder import open_sharded
from dlrm_pl.model.checkpoints.sharded.names import is_sharded
from dlrm_pl.model.checkpoints.tensors import check_tensors, is_checked_always, stored_tensors
from dlrm_pl.model.parameter_names import is_upstream_checkpoint
from dlrm_pl.model.torchrec_names import is_torchrec_checkpoint
from dlrm_pl.program import program_name
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_folder.dcp_metadata import is_dcp
from dlrm_pl.torch_folder.snapshot import is_snapshot


@dataclass(frozen=True)
class _Origin:
    """What `import-checkpoint` records about the file that it read."""

    file: str
    format: str
    metadata: dict[str, Any]
    left_out: list[str]
    converted_from: list[str]
    nonfinite_rows: dict[str, int]


@dataclass(frozen=True)
class _Checkpoint(Partial):
    """The entries that this package reads; Lightning reads the others, and checks them itself."""

    state_dict: dict[str, Any]
    epoch: Count | None = None
    global_step: Count | None = None
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    reference: _Origin | None = None


def open_checkpoint(path: Path, *, whole: bool = False) -> dict[str, Any]:
    """Open a checkpoint that ``fit`` wrote, of any size; its tensors are ``FileTensor``.

    Only tensors and plain types are unpickled, so a hostile file cannot run code. Everything is compared with the
    checksums in the file, except large tables and an optimizer's large tensors.

    Args:
        path: a checkpoint file, or the folder of a sharded checkpoint.
        whole: compare large tensors too; this reads 4 GB/s per processor (measured with the file in memory).

    Raises:
        CheckpointError: the file is missing or corrupt, is not a checkpoint of this package, or holds something other
            than plain types.
    """
    if is_sharded(path):
        checkpoint: Any = open_sharded(path)
    elif is_dcp(path) or is_snapshot(path):
        raise CheckpointError(_import_first(path, "is a folder of torch.distributed.checkpoint or torchsnapshot"))
    else:
        try:
            checkpoint = TorchFile.open(path).contents
        except CheckpointError as error:
            raise CheckpointError(f"{error} Give a checkpoint file that `fit` wrote.") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint. Give a checkpoint file that `fit` wrote."
        )
    if is_upstream_checkpoint(checkpoint):
        raise CheckpointError(_import_first(path, "is a checkpoint of facebookresearch/dlrm"))
    if is_torchrec_checkpoint(checkpoint):
        raise CheckpointError(_import_first(path, "is a checkpoint of TorchRec's DLRM"))
    try:
        CheckpointContract.read(checkpoint)
        entries = make(_Checkpoint, checkpoint, "the checkpoint", CheckpointError, "It is corrupt.")
        for name, tensor in entries.state_dict.items():
            if not isinstance(tensor, FileTensor):
                raise CheckpointError(
                    f"{shown(name)} in its state_dict is {shown(tensor)}, not a tensor. The checkpoint is corrupt."
                )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    check_tensors(pair for pair in stored_tensors(checkpoint) if whole or is_checked_always(*pair))
    return checkpoint


def _import_first(path: Path, what: str) -> str:
    return (
        f"{path}: {what}. Import it first: `{program_name()} import-checkpoint --upstream {path} --output FILE.ckpt`."
    )
