"""How a Trainer writes checkpoints, and the folders that it writes them to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from dlrm_pl.callbacks.async_checkpoints import AsyncCheckpoints, file_exists, link_checkpoint
from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.destinations import resolved
from dlrm_pl.files.locks import folder_lock


def add_checkpoint_io(trainer: pl.Trainer, asynchronous: bool) -> None:
    """Make a Trainer write checkpoints with ``AtomicCheckpointIO``, unless a user's plugin does that.

    Raises:
        ConfigurationError: ``asynchronous`` is set, but a user's plugin writes the checkpoints.
    """
    plugin = trainer.strategy.checkpoint_io
    if type(plugin) is TorchCheckpointIO:
        plugin = trainer.strategy.checkpoint_io = AtomicCheckpointIO(asynchronous)
    elif asynchronous:
        raise ConfigurationError(
            f"trainer.async_checkpoints=true and trainer.plugins with a {type(plugin).__name__} are mutually "
            "exclusive. Leave out one of them."
        )
    if asynchronous:
        trainer.callbacks.insert(0, AsyncCheckpoints())  # type: ignore[attr-defined]
    if not isinstance(plugin, AtomicCheckpointIO):
        return
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            callback._link_checkpoint = link_checkpoint  # type: ignore[method-assign]
            callback.file_exists = partial(file_exists, callback)  # type: ignore[method-assign]


@contextmanager
def folders_for_one_training(trainer: pl.Trainer) -> Iterator[None]:
    """Hold a Trainer's checkpoint folders during training, so that no other run writes into them.

    Raises:
        OutputError: another process trains into one of them; the message states its process id.
    """
    with ExitStack() as held:
        for folder in sorted(_folders(trainer)):
            held.enter_context(folder_lock(folder))
        yield


def _folders(trainer: pl.Trainer) -> set[Path]:
    """Checkpoint folders with fixed names; the folders of loggers are new for each run."""
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return set()
    found = set()
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            if callback.dirpath is not None and "://" not in str(callback.dirpath):
                found.add(resolved(Path(callback.dirpath)))
            elif callback.dirpath is None and not trainer.loggers:
                found.add(resolved(Path(trainer.default_root_dir) / "checkpoints"))
    return found
