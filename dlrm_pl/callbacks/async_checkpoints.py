"""Make a Trainer's ModelCheckpoints work with checkpoints that are still being written."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO, link


class Saving(Protocol):
    """Writer of checkpoints that runs during training: ``AtomicCheckpointIO``, or a multi-process strategy."""

    @property
    def pending(self) -> Path | None:
        """Path of the checkpoint that is being written now."""

    def poll(self) -> None:
        """Do what a checkpoint that is being written needs between two steps."""

    def finish(self) -> None:
        """Wait for a checkpoint that is being written."""

    def after_writing(self, action: Callable[[], None]) -> None:
        """Call a function once the checkpoint that is being written is complete; at once if there is none."""


def saving_of(trainer: pl.Trainer) -> Saving | None:
    """Return what writes the checkpoints of a Trainer; None if it is a user's plugin."""
    of_strategy: Saving | None = getattr(trainer.strategy, "saving", None)
    plugin = trainer.strategy.checkpoint_io
    return of_strategy or (plugin if isinstance(plugin, AtomicCheckpointIO) else None)


class AsyncCheckpoints(pl.Callback):
    """Callback that looks after a checkpoint that is being written, between two steps."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Detect that writing has finished or failed, or that training needs too much memory meanwhile."""
        saving = saving_of(trainer)
        assert saving is not None
        saving.poll()


def link_checkpoint(trainer: pl.Trainer, filepath: str, linkpath: str) -> None:
    """Replace ``ModelCheckpoint._link_checkpoint``: link only complete files.

    Lightning removes an earlier link before it makes a new one, and the file for the new one may not exist yet: a run
    that is killed in between would have no last checkpoint.
    """
    first, second = Path(filepath), Path(linkpath)
    if not trainer.is_global_zero or first == second or first.is_dir():
        ModelCheckpoint._link_checkpoint(trainer, filepath, linkpath)
        return

    def make_link() -> None:
        if first.is_dir() or not link(first, second):
            _link_by_name(first, second)

    saving = saving_of(trainer)
    assert saving is not None
    saving.after_writing(make_link)
    trainer.strategy.barrier()


def file_exists(callback: ModelCheckpoint, filepath: str | os.PathLike[str], trainer: pl.Trainer) -> bool:
    """Replace ``ModelCheckpoint.file_exists``: a file that is being written counts as existing.

    Otherwise the next checkpoint would take the same name. The file named "last" in the folder of the checkpoint that
    training continues from does not count, because it belongs to this training run, even if that checkpoint was saved
    before the first "last". It belongs to another run if the callback already has a last checkpoint with another name,
    or if training continues from one with a version in its name, such as last-v1.ckpt.
    """
    path = Path(filepath)
    if path.stem == callback.CHECKPOINT_NAME_LAST and _folder(trainer.ckpt_path) == _folder(path):
        if callback.last_model_path:
            return Path(callback.last_model_path).stem != path.stem
        if not re.search(r"-v\d+$", Path(trainer.ckpt_path or "").stem):
            return False
    saving = saving_of(trainer)
    pending = trainer.is_global_zero and saving is not None and saving.pending == path
    found = trainer.strategy.reduce_boolean_decision(pending, all=False)
    return found or ModelCheckpoint.file_exists(callback, filepath, trainer)  # type: ignore[arg-type]


def _folder(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path).absolute().parent.resolve()


def _link_by_name(first: Path, second: Path) -> None:
    temporary = second.parent / f".{second.name}.{os.getpid()}.link.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(first, second.parent))
    if second.is_dir() and not second.is_symlink():
        shutil.rmtree(second)
    temporary.rename(second)
