"""Describe a folder or a file."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.output import Report


def inspect(path: str, full: bool = False) -> Report:
    """Describe a dataset folder, a checkpoint or an artifact on one screen.

    The last line tells what was compared with its checksum, and what was not.

    Args:
        path: a dataset folder, a checkpoint or an artifact folder.
        full: compare every byte of every file with its checksum; exit status 2 when one differs.
    """
    from dlrm_pl.inspection import inspect_path

    description = inspect_path(Path(path), full)
    return Report(description.to_dict(), str(description))
