"""Small segments of rows, so that even small tables have several."""

from __future__ import annotations

import pytest

import dlrm_pl.kernels.hashing.blocks as blocks
import dlrm_pl.model.checkpoints.checksum as checksum


def read_in_segments(patch: pytest.MonkeyPatch, size: int) -> None:
    """Let weights be read and packed in segments of that many bytes of rows, with a digest for each row."""
    patch.setattr(blocks, "_BLOCK_BYTES", 1)
    patch.setattr(checksum, "_SEGMENT_BYTES", size)
