"""Temporary folders of benchmarks."""

from __future__ import annotations

import tempfile
from pathlib import Path


def scratch_folder(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder, and the folder that it is to be in, if that is not there yet.

    Args:
        parent: the folder that it is to be in; None: the system's.
    """
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=parent)
