"""Find the checkpoint that training continues from after torchrun has restarted its processes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dlrm_pl.documents.json_text import object_with
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.checkpoints.sharded.names import MARKER_NAME


def run_id() -> str:
    """Return the name of the run that torchrun was given (--rdzv_id); empty without one."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return "" if name == "none" else name


def was_restarted(folders: Iterable[Path]) -> bool:
    """Return whether torchrun has started the processes of this training run before.

    On one machine, torchrun counts its restarts. On several machines, each counts only those after a failure of its
    own, so the processes would not agree. Instead, all of them look for a checkpoint that the run with this name has
    saved.

    Args:
        folders: folders that checkpoints are saved to, which all machines share.

    Raises:
        ConfigurationError: torchrun has restarted processes on several machines, but the run has no name.
    """
    is_second = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        return is_second
    if is_second and not run_id():
        raise ConfigurationError(
            "torchrun has restarted the processes of several machines, but does not tell all of them. Give torchrun "
            "a name for this training run with --rdzv_id, by which fit finds the checkpoint to continue from; or "
            "give fit a --ckpt_path."
        )
    return bool(run_id()) and newest_checkpoint(folders, run_id()) is not None


def newest_checkpoint(folders: Iterable[Path], run: str = "") -> Path | None:
    """Return the complete sharded checkpoint with the most steps; None if there is none.

    All processes find the same one, since none of them saves while they start.

    Args:
        folders: folders that checkpoints are saved to.
        run: name of the run that saved it; empty for any run.
    """
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.ckpt")):
            marker = object_with(path / MARKER_NAME, "global_step") if path.is_dir() else None
            if marker is not None and not path.is_symlink() and run in ("", marker.get("run")):
                found.append((int(marker["global_step"]), str(path)))
    return Path(max(found)[1]) if found else None
