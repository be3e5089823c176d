"""Names and paths of the checkpoint to start from."""

from __future__ import annotations

import os
import warnings

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from dlrm_pl.errors import ConfigurationError


def checkpoint_file(trainer: pl.Trainer, ckpt_path: str | os.PathLike[str]) -> str:
    """Resolve Lightning's checkpoint names (best, last, hpc) to a file; return any other path unchanged.

    Raises:
        ConfigurationError: there is no such checkpoint. Lightning would train from scratch if "last" is missing.
    """
    ckpt_path = os.fspath(ckpt_path)
    if ckpt_path not in ("best", "last", "hpc"):
        return ckpt_path
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*there is no last checkpoint available")
        try:
            path = trainer._checkpoint_connector._parse_ckpt_path(
                TrainerFn.FITTING, ckpt_path, model_provided=True, model_connected=True
            )
        except ValueError:
            path = None
    if path is None:
        reasons = {
            "best": "the ModelCheckpoint of this Trainer has not saved one yet",
            "last": f"there is no file last*.ckpt in {', '.join(_folders(trainer)) or 'any folder'}; ModelCheckpoint "
            "writes one with save_last: true",
            "hpc": f"there is no file hpc_ckpt_*.ckpt in {trainer.default_root_dir}",
        }
        raise ConfigurationError(
            f"ckpt_path={ckpt_path!r}: no such checkpoint: {reasons[ckpt_path]}. Give the path of a file; without "
            "ckpt_path, fit trains from the beginning."
        )
    return str(path)


def is_file_name(ckpt_path: str) -> bool:
    """Return whether a path is that of a file, not a URL or a model in Lightning's registry."""
    return ckpt_path != "registry" and ":" not in ckpt_path


def _folders(trainer: pl.Trainer) -> list[str]:
    """Folders that the ModelCheckpoints of a Trainer write to."""
    callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    return [str(callback.dirpath or "the folder of the logger") for callback in callbacks]
