"""Operations on a tensor in files: map it, or read all of it, block by block, or some of its rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrm_pl.torch_file.open_file import OpenFile

# This fits into a processor's cache. One write of 16 MiB took six times as long as sixteen of 1 MiB (measured on ext4).
BLOCK_BYTES = 1 << 20


@dataclass(eq=False)
class Storage:
    """A run of elements in a file, which tensors are views of.

    Attributes:
        key: name of the storage in the file.
        dtype: type of the elements; uint8 if the file leaves the type to the tensors.
        numel: number of elements.
        offset: position of the first byte in the file; -1 until it is known.
        crc32: checksum of the bytes; None if the file has none.
        checked: whether the bytes have been verified against this checksum.
    """

    key: str
    dtype: torch.dtype
    numel: int
    offset: int = -1
    crc32: int | None = None
    checked: bool = False

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.numel * self.dtype.itemsize


class FileTensor(ABC):
    """The description of a tensor in files: in one file (``StoredTensor``) or in pieces.

    Attributes:
        dtype: type of the elements.
        shape: size of each dimension.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    @abstractmethod
    def files(self) -> tuple[OpenFile, ...]:
        """Files that hold it."""

    @property
    @abstractmethod
    def storages(self) -> tuple[Storage, ...]:
        """Runs of bytes that it consists of."""

    @property
    @abstractmethod
    def crc32(self) -> int | None:
        """Checksum of the bytes; None if no file states one for exactly these bytes."""

    @property
    def nbytes(self) -> int:
        """Number of bytes of the elements, without gaps."""
        return self.numel() * self.dtype.itemsize

    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    @abstractmethod
    def check(self, name: str = "a tensor") -> None:
        """Compare all bytes with the checksums in the files, see ``StoredTensor.check``."""

    @abstractmethod
    def map(self) -> Tensor:
        """Map the tensor into memory, see ``StoredTensor.map``."""

    @abstractmethod
    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Tensor]:
        """Yield the rows in order, block by block, see ``StoredTensor.blocks``."""

    def take(self, rows: Tensor) -> Tensor:
        """Read some rows into memory.

        Args:
            rows: numbers of the rows, int64 ``[n]``.

        Returns:
            ``[n, ...]``.

        Raises:
            CheckpointError: a file was shortened.
        """
        return self.map()[rows]

    def read(self) -> Tensor:
        """Read the tensor into memory, contiguous.

        Raises:
            CheckpointError: a file is corrupt, or was shortened.
        """
        self.check()
        result = torch.empty(self.shape, dtype=self.dtype)
        rows = result.reshape(-1) if not self.shape else result
        first = 0
        for block in self.blocks():
            rows[first : first + len(block)] = block
            first += len(block)
        return result
