"""Protect the checkpoints of an earlier run from being overwritten by a new one."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from dlrm_pl.errors import OutputError
from dlrm_pl.files.destinations import resolved

log = logging.getLogger(__name__)


def check_earlier_checkpoints(callbacks: Iterable[Checkpoint], default_folder: Path | None) -> None:
    """Check, before training, that it would not overwrite the checkpoints of an earlier run.

    Lightning appends a number to a file name that is taken, unless ``enable_version_counter: false`` fixes the name.
    In that case a warning says how to continue the earlier run.

    Args:
        callbacks: checkpoint callbacks of the Trainer.
        default_folder: folder of callbacks without a ``dirpath``; None if each run gets a new one.

    Raises:
        OutputError: a checkpoint would be overwritten; the message names it.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint):
            continue
        folder = default_folder if callback.dirpath is None else Path(callback.dirpath)
        if folder is not None and callback._enable_version_counter:
            _warn_of_another_training(callback, folder)
            continue
        for path in _existing(callback, folder) if folder is not None else ():
            raise OutputError(
                f"{path}: this checkpoint of an earlier run would be overwritten. Give --overwrite to overwrite it, "
                "--ckpt_path to continue from a checkpoint, or another folder (dirpath of ModelCheckpoint)."
            )


def _warn_of_another_training(callback: ModelCheckpoint, folder: Path) -> None:
    """Warn if checkpoints of an earlier run, which may have been killed, stay beside those of this training."""
    found = [*_existing(callback, folder), *_existing(callback, folder, f"{callback.CHECKPOINT_JOIN_CHAR}v*")]
    if found:
        newest = max(found, key=lambda path: path.stat().st_mtime_ns)
        log.warning(
            "%s has checkpoints of an earlier run. They stay there, and this training starts from the beginning under "
            "other file names. To continue the earlier run, stop this one and give --ckpt_path %s",
            folder,
            newest,
        )


def _existing(callback: ModelCheckpoint, folder: Path, version: str = "") -> Iterator[Path]:
    """Find files whose names the callback may give to its checkpoints, with a glob of the number after the name."""
    names = [callback.filename or "{epoch}-{step}"]
    if callback.save_last:
        names.append(callback.CHECKPOINT_NAME_LAST)
    for name in names:
        # Text in braces becomes a number, or a name and a number.
        pattern = "*".join(glob.escape(text) for text in re.split(r"\{[^}]*\}", name))
        yield from sorted(resolved(folder).glob(f"{pattern}{version}{callback.FILE_EXTENSION}"))
