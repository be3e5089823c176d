"""The checkpoint that a training goes on from after torchrun has started its processes again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dlrm_pl.documents.json_text import object_with
from dlrm_pl.model.checkpoints.sharded.names import MARKER_NAME


def was_restarted() -> bool:
    """Tell whether torchrun has started this process because an earlier one failed."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def newest_checkpoint(folders: Iterable[Path]) -> Path | None:
    """Find the whole sharded checkpoint of the most steps; None if there is none.

    All processes find the same one: while they start, none of them saves.

    Args:
        folders: folders that checkpoints are saved to.
    """
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.ckpt")):
            marker = object_with(path / MARKER_NAME, "global_step") if path.is_dir() else None
            if marker is not None and not path.is_symlink():
                found.append((int(marker["global_step"]), str(path)))
    return Path(max(found)[1]) if found else None
