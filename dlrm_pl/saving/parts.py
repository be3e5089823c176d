"""Parts of a file and their positions in memory, in the order of the file; nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.hashing.blocks import DIGEST_BYTES
from dlrm_pl.torch_file.writer import InMemory, PlacedTensor, other_entries, place_tensors
from dlrm_pl.torch_file.zip_writer import CRC_IN_DIRECTORY, CRC_IN_HEADER, ZipEntry, end_of_directory

_KINDS = {torch.float32: 1, torch.float64: 2, torch.bfloat16: 3, torch.float16: 4}
"""Number by which ``native.Job`` knows each dtype whose values must be finite."""


@dataclass(frozen=True)
class Digests:
    """Digests of a tensor's blocks, computed while it is written, and written after it.

    Attributes:
        blocks: uint8 ``[blocks, 16]``, a tensor that comes after the digested tensor in the contents.
        block_bytes: size of a block; the last may be shorter.
    """

    blocks: Tensor
    block_bytes: int

    def check_fits(self, nbytes: int) -> None:
        """Check that there is exactly enough room for the digests of a number of bytes.

        Raises:
            ShapeError: there is more or less room.
        """
        expected = (-(-nbytes // self.block_bytes), DIGEST_BYTES)
        if tuple(self.blocks.shape) != expected or self.blocks.dtype != torch.uint8 or not self.blocks.is_contiguous():
            raise ShapeError(
                f"Digests of {nbytes} bytes in blocks of {self.block_bytes} are contiguous uint8 {list(expected)}, got "
                f"{self.blocks.dtype} {list(self.blocks.shape)}."
            )


@dataclass(frozen=True)
class PlacedData:
    """Position of a tensor's data in a file.

    Attributes:
        offset: position of its first byte in the file.
        nbytes: number of bytes.
        checksum: number of its checksum, see ``native.Job``.
    """

    offset: int
    nbytes: int
    checksum: int


class FileParts:
    """Parts of a file to be written; archives like those of ``torch.save`` are appended to it.

    Attributes:
        size: number of bytes of the file.
        tensor_bytes: number of bytes of its tensors.
        names: for each part, the name of its tensor if the tensor's values must be finite.
        memory: address and size of each tensor, in order of the file.
    """

    def __init__(self) -> None:
        self._kept: list[Any] = []  # Objects that the addresses refer to.
        self._rows: list[tuple[int, int, int, int, int, int]] = []
        self._patches: list[tuple[int, int]] = []
        self._checksums = 0
        self.size = 0
        self.tensor_bytes = 0
        self.names: dict[int, str] = {}
        self.memory: list[tuple[int, int]] = []

    @property
    def parts(self) -> npt.NDArray[np.int64]:
        """Parts, see ``native.Job``."""
        return np.array(self._rows, np.int64).reshape(-1, 6)

    @property
    def patches(self) -> npt.NDArray[np.int64]:
        """Positions where checksums are inserted, see ``native.Job``."""
        return np.array(self._patches, np.int64).reshape(-1, 2)

    @property
    def num_checksums(self) -> int:
        """Number of checksums that are computed over its parts."""
        return self._checksums

    def add_archive(
        self,
        path: Path,
        contents: Any,
        must_be_finite: Callable[[Tensor], str | None] = lambda _: None,
        digests_of: Callable[[Tensor], Digests | None] = lambda _: None,
    ) -> list[PlacedData]:
        """Add an archive that ``torch.load`` reads, as ``write_torch_file`` writes it.

        Args:
            path: path for error messages.
            contents: a tensor, or dicts, lists and tuples of plain values and tensors.
            must_be_finite: returns the name of a tensor whose values must be finite, for error messages; None for other
                tensors.
            digests_of: returns where to store the digests of a tensor's blocks while it is written; None for a tensor
                without digests.

        Returns:
            Position of each tensor's data.

        Raises:
            CheckpointError: a value has a type that cannot be written.
        """
        placed, tensors = place_tensors(path, contents)
        archive = _Archive(self)
        data = []
        for tensor in tensors:
            assert isinstance(tensor.source, InMemory)
            source = tensor.source.tensor
            data.append(archive.add_tensor(tensor, source, must_be_finite(source), digests_of(source)))
        for name, content in other_entries(placed):
            archive.add(name, content)
        archive.end()
        return data

    def add_zeros(self, size: int) -> None:
        """Add padding."""
        self.add_bytes(bytes(size))

    def add_bytes(self, content: bytes, checksum: int = -1) -> None:
        """Add bytes that belong to no tensor."""
        held = np.frombuffer(content, np.uint8)
        self.add_memory(held, held.ctypes.data, len(content), checksum, 0)

    def add_memory(
        self, held: Any, start: int, size: int, checksum: int, kind: int, digests: Digests | None = None
    ) -> None:
        """Add the bytes of an object that is kept alive."""
        self._kept += [held, digests]
        where = (0, 0) if digests is None else (digests.blocks.data_ptr(), digests.block_bytes)
        self._rows.append((start, size, checksum, kind, *where))
        self.size += size

    def new_checksum(self) -> int:
        """Return the number of a checksum over no parts so far."""
        self._checksums += 1
        return self._checksums - 1

    def patch(self, position: int, checksum: int) -> None:
        """Record where a checksum is to be inserted in the file."""
        self._patches.append((position, checksum))


class _Archive:
    """A zip archive at the end of a file's parts; its offsets count from its own first byte."""

    def __init__(self, parts: FileParts) -> None:
        self._parts = parts
        self._start = parts.size
        self._entries: list[tuple[ZipEntry, int]] = []

    def add_tensor(self, placed: PlacedTensor, tensor: Tensor, name: str | None, digests: Digests | None) -> PlacedData:
        """Add the data of a tensor; with a name, its values must be finite."""
        parts = self._parts
        if not placed.nbytes:
            checksum = self.add(placed.entry, b"")
            return PlacedData(parts.size, 0, checksum)
        # This copies nothing unless the tensor is on a device or has gaps.
        held = tensor.detach().cpu().contiguous()
        checksum = self._header(placed.entry, placed.nbytes)
        kind = 0
        if name is not None and (kind := _KINDS.get(held.dtype, 0)):
            parts.names[len(parts._rows)] = name
        data = PlacedData(parts.size, placed.nbytes, checksum)
        if digests is not None:
            digests.check_fits(placed.nbytes)
        parts.add_memory(held, held.data_ptr(), placed.nbytes, checksum, kind, digests)
        parts.tensor_bytes += placed.nbytes
        parts.memory.append((held.data_ptr(), placed.nbytes))
        return data

    def add(self, name: str, content: bytes) -> int:
        """Add a small entry; returns the number of its checksum."""
        checksum = self._header(name, len(content))
        self._parts.add_bytes(content, checksum)
        return checksum

    def end(self) -> None:
        """Add the central directory, whose records hold the checksums a second time."""
        parts = self._parts
        start = parts.size - self._start
        for entry, checksum in self._entries:
            parts.patch(self._start + entry.header + CRC_IN_HEADER, checksum)
        for entry, checksum in self._entries:
            parts.patch(parts.size + CRC_IN_DIRECTORY, checksum)
            parts.add_bytes(entry.directory_record())
        parts.add_bytes(end_of_directory(len(self._entries), start, parts.size - self._start - start))

    def _header(self, name: str, size: int) -> int:
        entry = ZipEntry(name.encode(), self._parts.size - self._start, size)
        self._entries.append((entry, self._parts.new_checksum()))
        self._parts.add_bytes(entry.header_bytes())
        return self._entries[-1][1]
