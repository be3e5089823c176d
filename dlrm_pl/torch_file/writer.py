"""Write files that ``torch.load`` reads, table by table in bounded memory."""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.files.destinations import check_file
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.torch_file.allow_list import STORAGES
from dlrm_pl.torch_file.file_tensor import BLOCK_BYTES, FileTensor
from dlrm_pl.torch_file.plain import check_plain, replace_leaves
from dlrm_pl.torch_file.zip_writer import OVERHEAD_BYTES, ZipWriter

_STORAGE_OF = {dtype: name for name, dtype in STORAGES.items()}


@runtime_checkable
class TensorSource(Protocol):
    """A tensor that is read in blocks, such as a ``FileTensor``."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the elements."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""

    @property
    def crc32(self) -> int | None:
        """Checksum that the bytes must have; None if it is not known."""

    def blocks(self) -> Iterator[Tensor]:
        """Yield contiguous rows in order; a block must be used before the next is requested."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """A tensor in memory as a source."""

    tensor: Tensor
    crc32: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the elements."""
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""
        return tuple(self.tensor.shape)

    def blocks(self) -> Iterator[Tensor]:
        """Yield contiguous rows in order."""
        rows = self.tensor.detach().reshape(self.shape or (1,))
        if rows.numel():
            count = max(1, BLOCK_BYTES * len(rows) // (rows.numel() * rows.element_size()))
            yield from (rows[first : first + count].cpu().contiguous() for first in range(0, len(rows), count))


@dataclass(frozen=True, eq=False)
class PlacedTensor:
    """A tensor with its key in the file, which takes the tensor's place in the pickle."""

    key: str
    source: TensorSource

    @property
    def entry(self) -> str:
        """Name of its entry in the archive."""
        return f"archive/data/{self.key}"

    @property
    def numel(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.source.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.numel * self.source.dtype.itemsize

    def blocks(self) -> Iterator[memoryview]:
        """Yield the bytes in order; a block must be used before the next is requested."""
        for block in self.source.blocks():
            yield memoryview(block.reshape(-1).view(torch.uint8).numpy().data)


@dataclass(frozen=True, eq=False)
class _Data:
    """The data of a tensor, which the pickle refers to by a persistent id."""

    of: PlacedTensor


def write_torch_file(
    path: Path,
    contents: dict[str, Any],
    *,
    late: Callable[[], dict[str, Any]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a file from which ``torch.load(path, weights_only=True)`` reads ``contents``, with or without ``mmap``.

    The file is a zip archive like those of ``torch.save``, with correct checksums and data at multiples of 64 bytes. It
    appears whole or not at all. A tensor or source that occurs twice is written once. Writing takes memory for two
    blocks of ``BLOCK_BYTES``.

    Args:
        path: file to write; an earlier file is replaced at the end.
        contents: dicts, lists and tuples of plain values and tensors, ``FileTensor`` or other ``TensorSource``.
        late: makes additional entries of ``contents``, with plain values only, after all tensors were written.
        progress: called with the number of bytes written since the last call.

    Raises:
        CheckpointError: a value has a type that cannot be written, or a source's checksum is wrong; the message names
            it.
        OutputError: the disk has too little space, the path is a folder, or its folder cannot be written.
    """
    check_file(path, overwrite=True)
    placed, tensors = place_tensors(path, contents)
    with atomic_file(path, "wb") as handle:
        needed = len(pickled(placed)) + sum(tensor.nbytes for tensor in tensors) + OVERHEAD_BYTES * (len(tensors) + 4)
        require_free_space(path, needed, "its tensors")
        archive = ZipWriter(handle)
        for tensor in tensors:
            blocks = _counted(tensor.blocks(), progress)
            crc32 = archive.add_blocks(tensor.entry, tensor.nbytes, blocks)
            if tensor.source.crc32 not in (None, crc32):
                raise CheckpointError(
                    f"{path}: was not written: the source is corrupt, because a tensor of shape "
                    f"{list(tensor.source.shape)} does not match its checksum. Copy or download the source file "
                    "again."
                )
        for name, content in other_entries(placed | (late() if late is not None else {})):
            archive.add(name, content)
        archive.finish()


def place_tensors(path: Path, contents: dict[str, Any]) -> tuple[dict[str, Any], list[PlacedTensor]]:
    """Give each tensor in a file's contents its entry.

    Args:
        path: path for error messages.
        contents: see ``write_torch_file``.

    Returns:
        The contents, with a ``PlacedTensor`` in place of each tensor or source, and these in order.

    Raises:
        CheckpointError: a value has a type that cannot be written.
    """
    tensors: list[PlacedTensor] = []

    def place(source: Tensor | TensorSource) -> PlacedTensor:
        wrapped = InMemory(source) if isinstance(source, Tensor) else source
        if isinstance(wrapped, FileTensor) and wrapped.crc32 is None:
            wrapped.check()  # Its blocks are only part of what the checksum covers.
        if wrapped.dtype not in _STORAGE_OF:
            raise CheckpointError(f"{path}: tensors of type {wrapped.dtype} cannot be written.")
        tensors.append(PlacedTensor(str(len(tensors)), wrapped))
        return tensors[-1]

    placed: dict[str, Any] = replace_leaves(contents, (Tensor, TensorSource), place)
    try:
        check_plain(placed, (PlacedTensor,))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: cannot be written: {error}.") from error
    return placed, tensors


def other_entries(placed: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Make the entries after those of the tensors: the pickle of everything else, and what readers expect."""
    others = (("data.pkl", pickled(placed)), ("byteorder", b"little"), ("version", b"3\n"))
    return [(f"archive/{name}", content) for name, content in others]


def _counted(blocks: Iterator[memoryview], progress: Callable[[int], None] | None) -> Iterator[memoryview]:
    for block in blocks:
        yield block
        if progress is not None:
            progress(block.nbytes)


class _Pickler(pickle.Pickler):
    """A pickler that writes tensors as torch does."""

    def persistent_id(self, value: Any) -> Any:
        """Refer to the data of a tensor."""
        if not isinstance(value, _Data):
            return None
        kind = getattr(torch, _STORAGE_OF[value.of.source.dtype])
        return "storage", kind, value.of.key, "cpu", value.of.numel

    def reducer_override(self, value: Any) -> Any:
        """Write a tensor as a function of its data."""
        if not isinstance(value, PlacedTensor):
            return NotImplemented
        strides: list[int] = []
        step = 1
        for size in reversed(value.source.shape):
            strides.insert(0, step)
            step *= max(size, 1)
        shape = tuple(value.source.shape)
        hooks: dict[Any, Any] = collections.OrderedDict()
        return torch._utils._rebuild_tensor_v2, (_Data(value), 0, shape, tuple(strides), False, hooks)


def pickled(contents: Any) -> bytes:
    """Pickle contents in which each tensor is a ``PlacedTensor``."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(contents)
    return buffer.getvalue()
