"""Let the ModelCheckpoints of a Trainer work with checkpoints that are still being written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO, link


class AsyncCheckpoints(pl.Callback):
    """Look after a checkpoint that is being written, between two steps."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Notice its end or its failure, and that training needs too much memory meanwhile."""
        plugin = trainer.strategy.checkpoint_io
        assert isinstance(plugin, AtomicCheckpointIO)
        plugin.poll()


def link_checkpoint(plugin: AtomicCheckpointIO, trainer: pl.Trainer, filepath: str, linkpath: str) -> None:
    """Take the place of ``ModelCheckpoint._link_checkpoint``: link whole files only.

    Lightning removes an earlier link before it makes a new one, whose file may not be there yet: a run that is killed
    in between would have no last checkpoint.
    """
    first, second = Path(filepath), Path(linkpath)
    if not trainer.is_global_zero or first == second or first.is_dir():
        ModelCheckpoint._link_checkpoint(trainer, filepath, linkpath)
        return

    def make_link() -> None:
        if not link(first, second):
            _link_by_name(first, second)

    plugin.after_writing(make_link)
    trainer.strategy.barrier()


def file_exists(
    callback: ModelCheckpoint, plugin: AtomicCheckpointIO, filepath: str | os.PathLike[str], trainer: pl.Trainer
) -> bool:
    """Take the place of ``ModelCheckpoint.file_exists``: a file that is being written counts.

    Otherwise the next checkpoint would take the same name.
    """
    pending = trainer.is_global_zero and plugin.pending == Path(filepath)
    found = trainer.strategy.reduce_boolean_decision(pending, all=False)
    return found or ModelCheckpoint.file_exists(callback, filepath, trainer)  # type: ignore[arg-type]


def _link_by_name(first: Path, second: Path) -> None:
    temporary = second.parent / f".{second.name}.{os.getpid()}.link.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(first, second.parent))
    temporary.rename(second)
