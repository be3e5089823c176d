"""Checkpoints with entries that fit did not write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def changed(saved: Path, path: Path, **changes: Any) -> Path:
    """Return a copy of the checkpoint with other entries; None removes one."""
    checkpoint = torch.load(saved, weights_only=True) | changes
    torch.save({name: value for name, value in checkpoint.items() if value is not None}, path)
    return path
