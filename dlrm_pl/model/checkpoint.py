"""Read Lightning checkpoints: only ours, nothing unpickled beyond plain data, tables memory-mapped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM

if TYPE_CHECKING:
    from dlrm_pl.model.lightning_module import DLRMModule

FORMAT = 1
_KEY = "dlrm_pl"


def checkpoint_entry(architecture: Architecture, dataset_fingerprint: str) -> dict[str, Any]:
    """What a checkpoint states of itself, plain types alone."""
    return {"format": FORMAT, "architecture": architecture.to_dict(), "dataset_fingerprint": dataset_fingerprint}


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; tensors are mapped, so a table is not in memory before it is used.

    Raises:
        CheckpointError: missing, damaged, or not ours. Code in it is not run: it loads with ``weights_only=True``.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint. `fit` says where it writes them.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises a dozen kinds for damaged, hostile and foreign files
        reason = str(error).split("\n")[0][:200]
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}: {reason}). It is cut short, of another "
            "program, or holds code, which is never run."
        ) from error
    _entry(checkpoint, str(path))
    return checkpoint  # type: ignore[no-any-return]


def load_into(module: DLRMModule, path: Path) -> None:
    """Load the weights of a checkpoint into a module of the same architecture.

    Raises:
        CheckpointError: see ``load_checkpoint`` and ``require_same_architecture``.
    """
    checkpoint = load_checkpoint(path)
    require_same_architecture(checkpoint, module.architecture, str(path))
    # Assigned and not copied, so that memory-mapped tables stay on disk.
    module.load_state_dict(checkpoint["state_dict"], assign=True)
    module.dataset_fingerprint = checkpoint[_KEY]["dataset_fingerprint"]


def load_dlrm(path: Path) -> DLRM:
    """Build the model of a checkpoint, without a Trainer and without initialising its tables.

    Raises:
        CheckpointError: see ``load_checkpoint``.
    """
    checkpoint = load_checkpoint(path)
    with torch.device("meta"):
        model = DLRM(Architecture.from_dict(_entry(checkpoint, str(path))["architecture"]))
    state = {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith("model.")
    }
    model.load_state_dict(state, assign=True)
    return model.eval()


def require_same_architecture(checkpoint: dict[str, Any], architecture: Architecture, name: str = "") -> None:
    """Compare a checkpoint with a model.

    Raises:
        CheckpointError: not ours, or different; names the table and both sizes, or the field and both values.
    """
    saved = Architecture.from_dict(_entry(checkpoint, name)["architecture"])
    where = f"{name}: " if name else ""
    for table, (rows, found) in enumerate(zip(saved.table_sizes, architecture.table_sizes, strict=False)):
        if rows != found:
            raise CheckpointError(
                f"{where}table {table}: the checkpoint has {rows} rows, the dataset {found}. Name the dataset that it "
                "was trained on."
            )
    theirs, ours = saved.to_dict(), architecture.to_dict()
    for field, value in theirs.items():
        if value != ours[field]:
            raise CheckpointError(
                f"{where}{field}: the checkpoint has {value}, the model {ours[field]}. Leave model.* to the checkpoint."
            )


def _entry(checkpoint: Any, name: str) -> dict[str, Any]:
    entry = checkpoint.get(_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(entry, dict) or entry.get("format") != FORMAT:
        raise CheckpointError(
            f"{name or 'The checkpoint'}: is no checkpoint of this program (it lacks the mark of format {FORMAT}). "
            "Name a .ckpt file that `fit` wrote."
        )
    return entry
