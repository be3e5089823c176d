"""A tensor in one file: described when the file is opened, and mapped or read when it is used."""

from __future__ import annotations

import math
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.complete_io import read_at
from dlrm_pl.files.mapped import map_elements
from dlrm_pl.torch_file.file_tensor import BLOCK_BYTES, FileTensor, Storage
from dlrm_pl.torch_file.open_file import OpenFile

_MAX_SIZE = 1 << 56  # A tensor's bytes times the element size fit into 64 bits.
_MAX_DIMENSIONS = 16
_MAX_REPEATED_BYTES = 16 << 20
_UINT = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}


@dataclass(frozen=True, eq=False)
class StoredTensor(FileTensor):
    """The description of a tensor in a file.

    Attributes:
        file: file that holds the tensor.
        storage: storage that the tensor is a view of.
        dtype: type of the elements.
        shape: size of each dimension.
        stride: distance between neighbours in each dimension, in elements.
        storage_offset: position of the first element in the storage, in elements of ``dtype``.
    """

    file: OpenFile
    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage_offset: int
    _extent: int = field(init=False)  # Number of elements from the first to the last, including gaps.

    def __post_init__(self) -> None:
        """Check that the tensor lies within its storage.

        Raises:
            CheckpointError: shape or stride are invalid, or elements lie outside the storage.
        """
        sizes = (*self.shape, *self.stride, self.storage_offset)
        valid = all(type(size) is int and 0 <= size <= _MAX_SIZE for size in sizes)
        if not valid or len(self.shape) != len(self.stride) or len(self.shape) > _MAX_DIMENSIONS:
            raise CheckpointError("corrupt: a tensor has no valid shape and stride")
        extent = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        object.__setattr__(self, "_extent", 0 if 0 in self.shape else extent)
        if math.prod(max(size, 1) for size in self.shape) > _MAX_SIZE:
            raise CheckpointError("corrupt: a tensor has no valid shape and stride")
        if (self.storage_offset + self._extent) * self.dtype.itemsize > self.storage.nbytes:
            raise CheckpointError(
                f"corrupt: a tensor of shape {list(self.shape)} needs {self.storage_offset + self._extent:,} elements, "
                f"but its data {self.storage.key[:40]!r} has {self.storage.nbytes // self.dtype.itemsize:,}"
            )
        # Where a stride is 0, one element stands for many, and a copy would hold all of them.
        if self.nbytes > max(self.storage.nbytes, _MAX_REPEATED_BYTES):
            raise CheckpointError(
                f"corrupt: a tensor of shape {list(self.shape)} and stride {list(self.stride)} repeats the "
                f"{self.storage.nbytes:,} bytes of its data up to {self.nbytes:,}, more than a checkpoint needs"
            )

    @property
    def offset(self) -> int:
        """Position of the first byte in the file."""
        return self.storage.offset + self.storage_offset * self.dtype.itemsize

    @property
    def files(self) -> tuple[OpenFile, ...]:
        """The file that holds it."""
        return (self.file,)

    @property
    def storages(self) -> tuple[Storage, ...]:
        """The storage that it is a view of."""
        return (self.storage,)

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in the file in order and without gaps."""
        expected = 1
        for size, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and step != expected:
                return self.numel() == 0
            expected *= size
        return True

    @property
    def is_aligned(self) -> bool:
        """Whether the first byte is at a multiple of an element's size, which the older format does not guarantee."""
        return self.offset % self.dtype.itemsize == 0

    @property
    def crc32(self) -> int | None:
        """Checksum of the bytes; None if the file states none for exactly these bytes."""
        return self.storage.crc32 if self.is_contiguous and self.nbytes == self.storage.nbytes else None

    def check(self, name: str = "a tensor") -> None:
        """Read all bytes of the storage, unless that was done before, and compare them with the checksum in the file.

        Args:
            name: name of the tensor, for messages.

        Raises:
            CheckpointError: the file is corrupt, or was shortened.
        """
        storage = self.storage
        if storage.crc32 is None or storage.checked:
            return
        self.file.check(storage.offset, storage.nbytes)
        buffer = np.empty(BLOCK_BYTES, dtype=np.uint8)
        crc32 = 0
        for start in range(0, storage.nbytes, BLOCK_BYTES):
            block = buffer[: min(BLOCK_BYTES, storage.nbytes - start)]
            self._fill(block, storage.offset + start)
            crc32 = zlib.crc32(block.data, crc32)
        if crc32 != storage.crc32:
            raise CheckpointError(
                f"{self.file.path}: corrupt: checksum mismatch in the bytes {storage.offset:,} to "
                f"{storage.offset + storage.nbytes - 1:,}, which hold {name}. Copy or download the file again."
            )
        storage.checked = True

    def map(self) -> Tensor:
        """Map the tensor into memory without reading it: pages are read on use, and dropped when memory is short.

        The file stays open as long as the tensor exists. Tensors that share data in the file do not share it in memory,
        and writing to one changes memory, never the file.

        Raises:
            CheckpointError: the file was shortened, the bytes are not aligned to the elements, or the system refuses
                the map.
        """
        if not self._extent:
            return torch.empty_strided(self.shape, self.stride, dtype=self.dtype)
        if not self.is_aligned:
            raise CheckpointError(
                f"{self.file.path}: a tensor begins at byte {self.offset:,}, which is not a multiple of "
                f"{self.dtype.itemsize}, so it cannot be memory-mapped. Save the file in torch's zip format."
            )
        size = self._extent * self.dtype.itemsize
        self.file.check(self.offset, size)
        try:
            flat = map_elements(self.file.descriptor, self.dtype, self._extent, self.offset)
        except OSError as error:
            raise CheckpointError(f"{self.file.path}: cannot be memory-mapped: {error.strerror}.") from error
        return flat.as_strided(self.shape, self.stride)

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Tensor]:
        """Yield the rows in order, block by block.

        Args:
            block_bytes: maximum size of a block, which has at least one row. A row is all elements with the same first
                index.

        Yields:
            ``[rows of the block, ...]``, contiguous; the next block overwrites it. A tensor without dimensions is
            yielded as one block ``[1]``.

        Raises:
            CheckpointError: the file was shortened.
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

    def fill_rows(self, target: Tensor, first: int) -> None:
        """Read the rows from ``first`` on into a contiguous tensor ``[rows, ...]``; they must be contiguous too.

        Raises:
            CheckpointError: the file was shortened.
        """
        assert self.is_contiguous
        assert self.shape[1:] == tuple(target.shape[1:])
        row_bytes = self.nbytes // self.shape[0] if self.shape[0] else 0
        self._fill(target.reshape(-1).view(torch.uint8).numpy(), self.offset + first * row_bytes)

    def take(self, rows: Tensor) -> Tensor:
        """Read some rows into memory, run by run and without a map, which limits of memory would count as a whole."""
        if not self.is_contiguous or not self.numel() or not len(rows):
            return super().take(rows)
        result = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        starts = [0, *((rows.diff() != 1).nonzero().flatten() + 1).tolist(), len(rows)]
        for start, stop in pairwise(starts):
            self.fill_rows(result[start:stop], int(rows[start]))
        return result

    def _fill(self, target: npt.NDArray[np.uint8], position: int) -> None:
        """Fill an array with bytes of the file."""
        count = read_at(self.file.descriptor, target.data, position)
        if count < len(target):
            self.file.check(position + count, len(target) - count)
            raise CheckpointError(f"{self.file.path}: cannot be read at byte {position + count:,}.")

    def _strided(self) -> npt.NDArray[Any]:
        """Map the elements with their gaps, as integers of the same size."""
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
