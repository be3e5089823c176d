"""Checkpoints with other entries than fit wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def changed(saved: Path, path: Path, **changes: Any) -> Path:
    """A copy of the checkpoint with other entries; None takes one away."""
    checkpoint = torch.load(saved, weights_only=True) | changes
    torch.save({name: value for name, value in checkpoint.items() if value is not None}, path)
    return path
