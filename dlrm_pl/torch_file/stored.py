"""Tensors that are still in their file: described when it is opened; mapped or read when they are used."""

from __future__ import annotations

import math
import mmap
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.complete_io import read_at
from dlrm_pl.files.mapped import map_elements
from dlrm_pl.files.watched import WatchedFile

# Fits a processor's cache; one write of 16 MiB took six times as long as sixteen of 1 MiB (measured, ext4).
BLOCK_BYTES = 1 << 20
_MAX_SIZE = 1 << 56  # Bytes of one tensor times elements' size stay within 64 bits.
_MAX_DIMENSIONS = 16
_MAX_REPEATED_BYTES = 16 << 20
_UINT = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}


class OpenFile(WatchedFile):
    """A file that stays open as long as a tensor of it is described, so that no other can take its place.

    Args:
        path: to open.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, CheckpointError)
        self.size = self.state.size

    def check(self, start: int, size: int) -> None:
        """Check that bytes are still in the file: a map of bytes that are not ends the process when it is read.

        Raises:
            CheckpointError: it has become shorter, or was changed otherwise.
        """
        now = os.fstat(self.descriptor).st_size
        if start + size > now:
            raise CheckpointError(
                f"{self.path}: cut short since it was opened, from {self.size:,} to {now:,} bytes; bytes up to "
                f"{start + size:,} are needed. Leave the file as it is while it is in use."
            )
        self.check_unchanged()


@dataclass(eq=False)
class Storage:
    """A run of elements in a file, which tensors are views of.

    Attributes:
        key: its name in the file.
        dtype: of the elements; uint8 where the file leaves it to the tensors.
        numel: number of elements.
        offset: of its first byte in the file; -1 until it is known.
        crc32: of its bytes; None when the file has none.
        checked: its bytes were found to have this checksum.
    """

    key: str
    dtype: torch.dtype
    numel: int
    offset: int = -1
    crc32: int | None = None
    checked: bool = False

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        file: that holds it.
        storage: that it is a view of.
        dtype: of its elements.
        shape: as torch's.
        stride: in elements.
        storage_offset: of its first element, in elements of its dtype.
    """

    file: OpenFile
    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage_offset: int
    _extent: int = field(init=False)  # Elements from the first to the last.

    def __post_init__(self) -> None:
        """Check that the storage holds it.

        Raises:
            CheckpointError: sizes that are no sizes, or elements outside the storage.
        """
        sizes = (*self.shape, *self.stride, self.storage_offset)
        valid = all(type(size) is int and 0 <= size <= _MAX_SIZE for size in sizes)
        if not valid or len(self.shape) != len(self.stride) or len(self.shape) > _MAX_DIMENSIONS:
            raise CheckpointError("damaged: a tensor has no valid shape and stride")
        extent = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        object.__setattr__(self, "_extent", 0 if 0 in self.shape else extent)
        if math.prod(max(size, 1) for size in self.shape) > _MAX_SIZE:
            raise CheckpointError("damaged: a tensor has no valid shape and stride")
        if (self.storage_offset + self._extent) * self.dtype.itemsize > self.storage.nbytes:
            raise CheckpointError(
                f"damaged: a tensor of shape {list(self.shape)} needs {self.storage_offset + self._extent:,} elements, "
                f"its data {self.storage.key[:40]!r} has {self.storage.nbytes // self.dtype.itemsize:,}"
            )
        # One element stands for many where a stride is 0, and a copy has them all.
        if self.nbytes > max(self.storage.nbytes, _MAX_REPEATED_BYTES):
            raise CheckpointError(
                f"damaged: a tensor of shape {list(self.shape)} and stride {list(self.stride)} repeats the "
                f"{self.storage.nbytes:,} bytes of its data as {self.nbytes:,}, more than a checkpoint needs"
            )

    @property
    def offset(self) -> int:
        """Of its first byte in the file."""
        return self.storage.offset + self.storage_offset * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Of its elements, without gaps."""
        return self.numel() * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Its elements stand in the file in their order, without gaps."""
        expected = 1
        for size, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and step != expected:
                return self.numel() == 0
            expected *= size
        return True

    @property
    def is_aligned(self) -> bool:
        """Its first byte is at a multiple of an element's size; the older format gives no such guarantee."""
        return self.offset % self.dtype.itemsize == 0

    @property
    def crc32(self) -> int | None:
        """Of its bytes, where the file states it."""
        return self.storage.crc32 if self.is_contiguous and self.nbytes == self.storage.nbytes else None

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def check(self, name: str = "a tensor") -> None:
        """Read all bytes of the storage, once, and compare them with the checksum that the file states, if it does.

        Args:
            name: of the tensor, for messages.

        Raises:
            CheckpointError: the file is damaged, or has become shorter.
        """
        storage = self.storage
        if storage.crc32 is None or storage.checked:
            return
        self.file.check(storage.offset, storage.nbytes)
        buffer = np.empty(BLOCK_BYTES, dtype=np.uint8)
        found = 0
        for start in range(0, storage.nbytes, BLOCK_BYTES):
            block = buffer[: min(BLOCK_BYTES, storage.nbytes - start)]
            self._fill(block, storage.offset + start)
            found = zlib.crc32(block.data, found)
        if found != storage.crc32:
            raise CheckpointError(
                f"{self.file.path}: damaged: the bytes {storage.offset:,} to {storage.offset + storage.nbytes - 1:,}, "
                f"which hold {name}, do not have the checksum that the file states of them. Get that file again."
            )
        storage.checked = True

    def map(self) -> Tensor:
        """The tensor, without reading it: its pages are read when they are used, and given up when memory is short.

        The file stays open as long as the tensor lives. Tensors that share data in the file do not share it here, and
        writing to one changes memory, never the file.

        Raises:
            CheckpointError: the file has become shorter, the bytes are not aligned to the elements, or the system
                refuses the map.
        """
        if not self._extent:
            return torch.empty_strided(self.shape, self.stride, dtype=self.dtype)
        if not self.is_aligned:
            raise CheckpointError(
                f"{self.file.path}: a tensor begins at byte {self.offset:,}, which is no multiple of "
                f"{self.dtype.itemsize}, so it cannot be used where it lies. Save the file in torch's zip format."
            )
        size = self._extent * self.dtype.itemsize
        self.file.check(self.offset, size)
        try:
            flat = map_elements(self.file.descriptor, self.dtype, self._extent, self.offset)
        except OSError as error:
            raise CheckpointError(f"{self.file.path}: cannot be mapped: {error.strerror}.") from error
        return flat.as_strided(self.shape, self.stride)

    def read(self) -> Tensor:
        """A contiguous copy in memory.

        Raises:
            CheckpointError: the file is damaged, or has become shorter.
        """
        self.check()
        result = torch.empty(self.shape, dtype=self.dtype)
        rows = result.reshape(-1) if not self.shape else result
        first = 0
        for block in self.blocks():
            rows[first : first + len(block)] = block
            first += len(block)
        return result

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Tensor]:
        """The rows in order, some at a time.

        Args:
            block_bytes: memory for a block; at least one row is in it. A row is all that has the same first index.

        Yields:
            ``[rows of the block, ...]``, contiguous; the next block overwrites it. A tensor without dimensions
            gives one block ``[1]``.

        Raises:
            CheckpointError: the file has become shorter.
        """
        shape = self.shape or (1,)
        if not self.numel():
            return
        row_bytes = self.nbytes // shape[0]
        rows = max(1, min(shape[0], block_bytes // row_bytes))
        buffer = torch.empty((rows, *shape[1:]), dtype=self.dtype)
        target = buffer.view(-1).view(torch.uint8).numpy()
        self.file.check(self.offset, self._extent * self.dtype.itemsize)
        strided = None if self.is_contiguous else self._strided()
        for first in range(0, shape[0], rows):
            count = min(rows, shape[0] - first)
            if strided is None:
                self._fill(target[: count * row_bytes], self.offset + first * row_bytes)
            else:
                part = np.ascontiguousarray(strided[first : first + count])
                target[: count * row_bytes] = part.reshape(-1).view(np.uint8)
            yield buffer[:count]

    def _fill(self, target: npt.NDArray[np.uint8], position: int) -> None:
        """Read bytes of the file."""
        count = read_at(self.file.descriptor, target.data, position)
        if count < len(target):
            self.file.check(position + count, len(target) - count)
            raise CheckpointError(f"{self.file.path}: cannot be read at byte {position + count:,}.")

    def _strided(self) -> npt.NDArray[Any]:
        """The elements where they lie, as whole numbers of their size."""
        item = self.dtype.itemsize
        skipped = self.offset % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(
            self.file.descriptor,
            skipped + self._extent * item,
            flags=mmap.MAP_SHARED,
            prot=mmap.PROT_READ,
            offset=self.offset - skipped,
        )
        strides = tuple(step * item for step in self.stride)
        return np.ndarray(self.shape, _UINT[item], buffer=mapped, offset=skipped, strides=strides)
