"""Avoids work that the tests do not need."""

from __future__ import annotations

import importlib.metadata
import os
from functools import cache


def spare() -> None:
    """Look up the installed packages only once, and never wait for the disk.

    Every Trainer reads the entry points of all installed packages, which no test changes. Synchronizing files to disk
    only protects them against a power failure, which no test covers. A killed process leaves the same files without it.
    """
    importlib.metadata.entry_points = cache(importlib.metadata.entry_points)  # type: ignore[assignment]
    os.fsync = lambda descriptor: None  # type: ignore[assignment]
