"""Find out what a path holds, and describe it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from dlrm_pl.data.formats.torchrec.day_files import is_days_folder
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.inspection.artifact import describe_artifact
from dlrm_pl.inspection.checkpoint import describe_checkpoint
from dlrm_pl.inspection.dataset import OpenProgress, Progress, describe_dataset, describe_days
from dlrm_pl.inspection.description import Description
from dlrm_pl.model.checkpoints.sharded.names import is_sharded


def describe(path: Path, full: bool = False) -> str:
    """Describe any of the three in words, see ``inspect_path``."""
    return str(inspect_path(path, full))


def inspect_path(
    path: Path,
    full: bool = False,
    *,
    checksums: bool = False,
    progress: OpenProgress | None = None,
) -> Description:
    """Describe a dataset folder, a checkpoint or an artifact; which one it is shows in its files.

    Args:
        path: a folder or a file; a sharded checkpoint is a folder.
        full: compare all of it with its checksums.
        checksums: for days in TorchRec's format, compare all files with the published checksums.
        progress: called with the total number of bytes; returns a context manager that shows the comparison's progress.

    Raises:
        ConfigurationError: the path holds nothing, or something else; or no checksums are published for it.
        DLRMError: it is one of the three, but broken.
    """
    if is_days_folder(path) and not (path / "dataset.json").is_file():
        return describe_days(path, full, (progress or _silent) if checksums else None)
    if checksums:
        raise ConfigurationError(f"{path}: --checksums is for days in TorchRec's format; --full checks other things.")
    if path.is_file() or is_sharded(path):
        return describe_checkpoint(path, full)
    if (path / "manifest.json").is_file():
        return describe_artifact(path, full)
    if (path / "dataset.json").is_file() or (path / "day_fea_count.npz").is_file():
        return describe_dataset(path, full)
    if path.exists():
        raise ConfigurationError(f"{path}: holds neither a dataset, a checkpoint nor an artifact.")
    raise ConfigurationError(f"{path}: does not exist. Name a dataset folder, a checkpoint or an artifact folder.")


def _silent(total: int) -> AbstractContextManager[Progress]:
    return nullcontext(lambda size: None)
