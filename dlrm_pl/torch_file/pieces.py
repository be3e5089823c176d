"""A tensor whose pieces are in several files: ranges of rows, of columns, or of both."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.crc32 import crc32_of_both
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.files.mapped import FileRun, map_elements, map_runs
from dlrm_pl.torch_file.file_tensor import BLOCK_BYTES, FileTensor, Storage
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.stored import StoredTensor

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a tensor.

    Attributes:
        start: index in each dimension of the tensor where the piece begins.
        stored: its elements, contiguous in their file.
    """

    start: tuple[int, ...]
    stored: StoredTensor


class TensorInPieces(FileTensor):
    """A tensor of one or two dimensions in pieces, which together hold each element once.

    Args:
        shape: size of each dimension.
        dtype: type of the elements.
        pieces: the pieces, in any order; empty ones are ignored.

    Attributes:
        pieces: the pieces sorted by columns, and by rows within the same columns.

    Raises:
        CheckpointError: an element is missing or lies in two pieces, or a piece has another type.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, pieces: Sequence[Piece]) -> None:
        self.shape, self.dtype = shape, dtype
        filled = [piece for piece in pieces if piece.stored.numel()]
        self.pieces = tuple(sorted(filled, key=lambda piece: (piece.start[1:], piece.start[:1])))
        self._check_covers()

    @property
    def files(self) -> tuple[OpenFile, ...]:
        """Files of its pieces."""
        return tuple({id(piece.stored.file): piece.stored.file for piece in self.pieces}.values())

    @property
    def storages(self) -> tuple[Storage, ...]:
        """Storages of its pieces."""
        return tuple(piece.stored.storage for piece in self.pieces)

    @property
    def crc32(self) -> int | None:
        """Checksum of the bytes in order; None if the pieces are ranges of columns."""
        if not self._has_whole_rows:
            return None
        total = 0
        for piece in self.pieces:
            if piece.stored.crc32 is None:
                return None
            total = crc32_of_both(total, piece.stored.crc32, piece.stored.nbytes)
        return total

    def check(self, name: str = "a tensor") -> None:
        """Read all pieces that have not been checked yet, and compare them with their checksums.

        Args:
            name: name of the tensor, for messages.

        Raises:
            CheckpointError: a file is corrupt, or was shortened.
        """
        for piece in self.pieces:
            piece.stored.check(name)

    def map(self) -> Tensor:
        """Map the pieces into memory as one tensor without reading them; writes to it change no file.

        Some pieces cannot be mapped: ranges of columns, and pieces whose position within a page differs between the
        file and the tensor. The tensor is then copied to an unnamed temporary file next to the checkpoint or in the
        system's temporary folder, which is deleted with the tensor.

        Raises:
            CheckpointError: a file was shortened, or the system refuses the map.
            OutputError: the disk has too little space for the temporary file.
        """
        if not self.numel():
            return torch.empty(self.shape, dtype=self.dtype)
        for piece in self.pieces:
            piece.stored.file.check(piece.stored.offset, piece.stored.nbytes)
        try:
            flat = self._mapped() if self._has_whole_rows else None
            if flat is None:
                with self._copy() as copy:
                    flat = map_elements(copy.fileno(), self.dtype, self.numel(), 0)
        except OSError as error:
            path = self.pieces[0].stored.file.path
            raise CheckpointError(f"{path}: cannot be memory-mapped: {error.strerror}.") from error
        return flat.view(self.shape)

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Tensor]:
        """Yield the rows in order, block by block, see ``StoredTensor.blocks``."""
        if not self.numel():
            return
        total = self.shape[0]
        rows = max(1, min(total, block_bytes // (self.nbytes // total)))
        buffer = torch.empty((rows, *self.shape[1:]), dtype=self.dtype)
        for first in range(0, total, rows):
            block = buffer[: min(rows, total - first)]
            self.fill(block, (first, *(0 for _ in self.shape[1:])))
            yield block

    def fill(self, target: Tensor, start: tuple[int, ...]) -> None:
        """Read the part of the tensor that begins at ``start`` and has the shape of ``target`` into it.

        Raises:
            CheckpointError: a file was shortened.
        """
        fill_from(self.pieces, target, start)

    @property
    def _has_whole_rows(self) -> bool:
        return all(piece.stored.shape[1:] == self.shape[1:] for piece in self.pieces)

    def _mapped(self) -> Tensor | None:
        stored = [piece.stored for piece in self.pieces]
        return map_runs([FileRun(one.file.descriptor, one.offset, one.nbytes) for one in stored], self.dtype)

    def _copy(self) -> IO[bytes]:
        """Copy the tensor to a file without a name."""
        path = self.pieces[0].stored.file.path
        copy = _nameless_file(path.parent.parent)
        require_free_space(
            Path(f"/proc/self/fd/{copy.fileno()}"), self.nbytes, "copies of tables whose pieces cannot be mapped as one"
        )
        log.info(
            "%s: copying a tensor of %s bytes, whose pieces cannot be mapped as one", path.parent, f"{self.nbytes:,}"
        )
        for block in self.blocks():
            copy.write(memoryview(block.reshape(-1).view(torch.uint8).numpy().data))
        copy.flush()
        return copy

    def _check_covers(self) -> None:
        """Check that the pieces are a grid of columns, each cut into rows, without gaps."""
        shape, column = self.shape, 0
        by_columns: dict[tuple[int, ...], list[Piece]] = {}
        for piece in self.pieces:
            stored = piece.stored
            if stored.dtype != self.dtype or len(stored.shape) != len(shape) or not stored.is_contiguous:
                raise CheckpointError("corrupt: a piece of a tensor has another type than the tensor")
            by_columns.setdefault((*piece.start[1:], *stored.shape[1:]), []).append(piece)
        for columns, pieces in by_columns.items():
            row = 0
            if columns and columns[0] != column:
                raise CheckpointError(f"corrupt: column {column} of a tensor {list(shape)} is not in one piece only")
            column += columns[1] if columns else 0
            for piece in pieces:
                if piece.start[0] != row:
                    raise CheckpointError(f"corrupt: row {row} of a tensor {list(shape)} is not in one piece only")
                row += piece.stored.shape[0]
            if row != shape[0]:
                raise CheckpointError(f"corrupt: row {row} of a tensor {list(shape)} is not in one piece only")
        if self.numel() and (not by_columns or (len(shape) > 1 and column != shape[1])):
            raise CheckpointError(f"corrupt: column {column} of a tensor {list(shape)} is not in one piece only")


def fill_part(target: Tensor, source: FileTensor, start: tuple[int, ...]) -> None:
    """Read the part of a tensor in files that begins at ``start`` and has the shape of ``target`` into it.

    Args:
        target: tensor to fill.
        source: a contiguous tensor of a file, or one in pieces.
        start: index in each dimension of the tensor where the part begins.

    Raises:
        CheckpointError: a file was shortened.
    """
    pieces = source.pieces if isinstance(source, TensorInPieces) else ()
    if isinstance(source, StoredTensor):
        pieces = (Piece((0,) * len(source.shape), source),)
    assert pieces or not source.numel()
    fill_from(pieces, target, start)


def fill_from(pieces: Sequence[Piece], target: Tensor, start: tuple[int, ...]) -> None:
    """Copy the overlap between part of a tensor and its pieces into that part.

    Args:
        pieces: pieces of the tensor.
        target: the part, with the same number of dimensions.
        start: index in each dimension of the tensor where the part begins.

    Raises:
        CheckpointError: a file was shortened.
    """
    for piece in pieces:
        shape = piece.stored.shape
        lows = [max(one, other) for one, other in zip(start, piece.start, strict=True)]
        sizes = zip(start, target.shape, piece.start, shape, strict=True)
        highs = [min(one + size, other + length) for one, size, other, length in sizes]
        if any(low >= high for low, high in zip(lows, highs, strict=True)):
            continue
        inside = tuple(slice(low - one, high - one) for low, high, one in zip(lows, highs, start, strict=True))
        part = target[inside]
        if part.is_contiguous() and part.device.type == "cpu" and tuple(part.shape[1:]) == shape[1:]:
            piece.stored.fill_rows(part, lows[0] - piece.start[0])
            continue
        columns = tuple(slice(low - one, high - one) for low, high, one in zip(lows, highs, piece.start, strict=True))
        step = max(1, BLOCK_BYTES * shape[0] // piece.stored.nbytes)
        for first in range(lows[0], highs[0], step):
            rows = torch.empty((min(step, highs[0] - first), *shape[1:]), dtype=piece.stored.dtype)
            piece.stored.fill_rows(rows, first - piece.start[0])
            part[first - lows[0] : first - lows[0] + len(rows)] = rows[(slice(None), *columns[1:])]


def _nameless_file(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()
