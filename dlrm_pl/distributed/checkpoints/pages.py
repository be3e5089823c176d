"""Padding between the pieces of tables in a file, so that all pieces of a table can be memory-mapped as one."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import torch

from dlrm_pl.model.checkpoints.sharded.names import SavedPiece
from dlrm_pl.torch_file.zip_writer import ALIGNMENT, ZipEntry


def with_padding(pieces: Sequence[SavedPiece]) -> list[SavedPiece]:
    """Put padding before the values of pieces, which are the first tensors in a torch file.

    A piece that begins in the middle of a page of its table also begins there in a page of the file; otherwise, the
    page that it shares with the piece before it could not be mapped together with the others.

    Args:
        pieces: the pieces in the order of the file.
    """
    position, key, padded = 0, 0, []
    for piece in pieces:
        values = piece["values"]
        row_bytes = values.element_size() * (values.shape[1] if values.dim() == 2 else 1)
        wanted = piece["start"][0] * row_bytes % mmap.ALLOCATIONGRANULARITY
        first = _data(position, key, 0)
        size = (wanted - _data(first, key + 1, 0)) % mmap.ALLOCATIONGRANULARITY if wanted % ALIGNMENT == 0 else 0
        assert size % ALIGNMENT == 0
        padded.append(
            SavedPiece(
                table=piece["table"],
                name=piece["name"],
                start=piece["start"],
                columns=piece["columns"],
                padding=torch.zeros(size, dtype=torch.uint8),
                values=values,
            )
        )
        position = _data(first + size, key + 1, values.nbytes) + values.nbytes
        key += 2
    return padded


def _data(position: int, key: int, size: int) -> int:
    """Where the data of a tensor begins in the file, if its entry begins at ``position``."""
    return position + len(ZipEntry(f"archive/data/{key}".encode(), position, size).header_bytes())
