"""Checkpoints of an earlier run, which a new one would replace."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from dlrm_pl.errors import OutputError
from dlrm_pl.files.destinations import resolved


def check_earlier_checkpoints(callbacks: Iterable[Checkpoint], default_folder: Path | None) -> None:
    """Check, before a new training, that no checkpoint of an earlier one would be replaced.

    Lightning itself numbers a file whose name is taken, unless ``enable_version_counter: false`` asks for one name.

    Args:
        callbacks: the Trainer's.
        default_folder: of those that name none; None where that is a new one for each run.

    Raises:
        OutputError: one would be; names it.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback._enable_version_counter:
            continue
        folder = default_folder if callback.dirpath is None else Path(callback.dirpath)
        for path in _found(callback, folder) if folder is not None else ():
            raise OutputError(
                f"{path}: is the checkpoint of an earlier run, which this one would replace. Give --overwrite to train "
                "anew all the same, --ckpt_path to go on from a checkpoint, or another folder (dirpath of "
                "ModelCheckpoint)."
            )


def _found(callback: ModelCheckpoint, folder: Path) -> Iterator[Path]:
    """Files that have a name which the callback may give."""
    names = [callback.filename or "{epoch}-{step}"]
    if callback.save_last:
        names.append(callback.CHECKPOINT_NAME_LAST)
    for name in names:
        # What stands in braces becomes a number, or a name and a number.
        pattern = "*".join(glob.escape(text) for text in re.split(r"\{[^}]*\}", name))
        yield from sorted(resolved(folder).glob(f"{pattern}{callback.FILE_EXTENSION}"))
