"""Checkpoints without a Trainer: read safely, and put into a module without copying its tables."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.model.checkpoint_contract import CheckpointContract
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.lightning_module import DLRMModule

# What a damaged file makes torch.load raise: found by flipping bytes, and as documented by the pickle module.
_DAMAGED = (
    *(RuntimeError, OSError, ValueError, TypeError, KeyError, AssertionError),
    *(pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError),
)


def load_checkpoint(path: Path, mmap: bool = True) -> dict[str, Any]:
    """Read a checkpoint that ``fit`` wrote.

    Nothing is unpickled but tensors and plain types, so a hostile file cannot run code.

    Args:
        path: the file.
        mmap: leave the tensors in the file until they are used; the file must then stay. Without it all of them are
            read into memory.

    Raises:
        CheckpointError: missing, damaged, holding other than plain types, or not ours.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path}: {found}. Give a checkpoint file, as `fit` wrote it.")
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path}: may not be read. Change its permissions, or give another file.")
    if not zipfile.is_zipfile(path):
        # Said here, since torch says of such a file only that it cannot be memory-mapped.
        raise CheckpointError(f"{path}: no checkpoint, or one that is cut short. Give a file that `fit` wrote.")
    try:
        checkpoint = torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
    except _DAMAGED as error:
        lines = str(error).strip().splitlines()
        raise CheckpointError(
            f"{path}: no checkpoint that can be read safely; cut short, damaged, or holding more than tensors and "
            f"plain types ({type(error).__name__}: {lines[0] if lines else 'no details'}). Give a file that `fit` "
            "wrote."
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint. Give a file of `fit`.")
    try:
        CheckpointContract.read(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return checkpoint


def load_into(module: DLRMModule, path: Path) -> None:
    """Load a checkpoint into a module; its parameters become the memory-mapped tensors of the file.

    Args:
        module: may be on the meta device, so that no weight is initialised in vain.
        path: the file, which must stay as long as the module is used.

    Raises:
        CheckpointError: unreadable, or of another architecture or dataset than the module.
    """
    checkpoint = load_checkpoint(path)
    try:
        module.on_load_checkpoint(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _assign(module, checkpoint["state_dict"], path)


def load_module(path: Path) -> DLRMModule:
    """Make the module of a checkpoint, with the hyperparameters in it and memory-mapped tensors.

    Raises:
        CheckpointError: unreadable, or its parts do not fit together.
    """
    checkpoint = load_checkpoint(path)
    contract = CheckpointContract.read(checkpoint)
    # Lightning's own entries start with an underscore.
    saved = {name: value for name, value in checkpoint.get("hyper_parameters", {}).items() if not name.startswith("_")}
    stated = contract.architecture.to_dict() | {"dataset_fingerprint": contract.dataset_fingerprint}
    try:
        with torch.device("meta"):
            module = DLRMModule(**(saved | stated))
    except (TypeError, ConfigurationError) as error:
        raise CheckpointError(f"{path}: its hyperparameters are not those of a DLRMModule ({error}).") from error
    _assign(module, checkpoint["state_dict"], path)
    return module.eval()


def load_dlrm(path: Path) -> DLRM:
    """Make the model of a checkpoint, without its module, Trainer or hyperparameters; tensors are memory-mapped.

    Raises:
        CheckpointError: unreadable, or its parts do not fit together.
    """
    checkpoint = load_checkpoint(path)
    with torch.device("meta"):
        model = DLRM(CheckpointContract.read(checkpoint).architecture)
    state = {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith("model.")
    }
    _assign(model, state, path)
    return model.eval()


def _assign(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Let a module have these tensors, without a copy."""
    try:
        module.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:  # Other keys, shapes or types than the file states.
        raise CheckpointError(
            f"{path}: its weights do not fit the architecture that it states; it is damaged ({error})."
        ) from error
