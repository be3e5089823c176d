"""What a folder or a file is."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.output import Report


def inspect(path: str, full: bool = False) -> Report:
    """Show what a dataset folder, a checkpoint or an artifact is, on one screen.

    The last line says what was compared with its checksum, and what was not.

    Args:
        path: any of the three.
        full: true: compare every byte of every file with its checksum; exit status 2 when one differs.
    """
    from dlrm_pl.inspection import inspect_path

    description = inspect_path(Path(path), full)
    return Report(description.to_dict(), str(description))
