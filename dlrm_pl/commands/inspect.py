"""What a folder or a file is."""

from __future__ import annotations

from pathlib import Path


def inspect(path: str) -> None:
    """Show what a dataset folder, a checkpoint or an artifact is, on one screen.

    Args:
        path: any of the three.
    """
    from dlrm_pl.inspection import describe

    print(describe(Path(path)))
