"""A tensor whose parts are in files of a folder, as the folder's directory states, and opening it from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.directory import open_file
from dlrm_pl.torch_file.file_range import FileRange
from dlrm_pl.torch_file.file_tensor import FileTensor, Storage
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.pieces import Piece, TensorInPieces
from dlrm_pl.torch_file.stored import StoredTensor
from dlrm_pl.torch_file.zip_format import read_zip

ADVICE = "Copy the whole folder again, or give another checkpoint."


@dataclass(frozen=True)
class SavedPart:
    """A part of a tensor.

    Attributes:
        start: index in each dimension of the tensor where the part begins.
        shape: size of the part in each dimension.
        file: name of the file within the folder, with ``/`` between folders.
        offset: first byte in the file.
        size: number of bytes; None: up to the end of the file.
        is_raw: whether these bytes are the bare elements; otherwise they are a file that torch wrote.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    file: str
    offset: int
    size: int | None
    is_raw: bool = False


@dataclass(frozen=True)
class SavedTensor:
    """A tensor in a folder.

    Attributes:
        shape: size of each dimension.
        dtype: type of the elements.
        parts: the tensor's parts, in any order.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    parts: tuple[SavedPart, ...]


def open_tensors(folder: Path, tensors: Mapping[str, SavedTensor]) -> dict[str, FileTensor]:
    """Open tensors in a folder without reading their elements.

    Args:
        folder: the folder.
        tensors: the directory's description of the tensors, by name.

    Raises:
        CheckpointError: a file is missing or cut short, or a tensor differs from the directory's description; the
            message names the tensor.
    """
    files: dict[str, OpenFile] = {}
    _check_apart(folder, tensors)
    return {name: _opened(folder, name, tensor, files) for name, tensor in tensors.items()}


def _opened(folder: Path, name: str, tensor: SavedTensor, files: dict[str, OpenFile]) -> FileTensor:
    pieces = []
    for part in tensor.parts:
        if len(part.start) != len(tensor.shape) or len(part.shape) != len(tensor.shape):
            raise CheckpointError(
                f"{folder}: corrupt: the number of dimensions of a part of {name} differs from that of the tensor. "
                f"{ADVICE}"
            )
        file = files[part.file] = files.get(part.file) or open_file(_path(folder, part.file))
        size = file.size - part.offset if part.size is None else part.size
        if part.offset < 0 or size < 0 or part.offset + size > file.size:
            raise CheckpointError(
                f"{file.path}: is truncated: {name} ends at byte {part.offset + size:,}, but the file ends at "
                f"{file.size:,}. {ADVICE}"
            )
        try:
            within = FileRange(file, part.offset, size)
            found = _raw(within, tensor, part) if part.is_raw else read_zip(within)
        except CheckpointError as error:
            raise CheckpointError(f"{file.path}: {name}: {str(error).rstrip('.')}. {ADVICE}") from error
        if not isinstance(found, StoredTensor) or (found.shape, found.dtype) != (part.shape, tensor.dtype):
            what = f"{found.dtype} {list(found.shape)}" if isinstance(found, StoredTensor) else type(found).__name__
            raise CheckpointError(
                f"{file.path}: has {what} at byte {part.offset:,}, but {tensor.dtype} {list(part.shape)} of {name} is "
                f"expected. {ADVICE}"
            )
        pieces.append(Piece(part.start, found))
    if len(pieces) == 1 and pieces[0].stored.shape == tensor.shape:
        return pieces[0].stored
    try:
        return TensorInPieces(tensor.shape, tensor.dtype, pieces)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {name}: {error}. {ADVICE}") from error


def _raw(within: FileRange, tensor: SavedTensor, part: SavedPart) -> StoredTensor:
    """Describe elements that lie in a file without anything else; there is no checksum."""
    item, count = tensor.dtype.itemsize, 1
    strides: list[int] = []
    for size in reversed(part.shape):
        strides.insert(0, count)
        count *= size
    if count * item != within.size:
        raise CheckpointError(f"has {within.size:,} bytes, but {count:,} elements of {item} bytes are expected")
    storage = Storage(part.file, tensor.dtype, count, within.start)
    return StoredTensor(within.file, storage, tensor.dtype, part.shape, tuple(strides), 0)


def _path(folder: Path, name: str) -> Path:
    """Return the path of a file, which must lie in the folder."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in name:
        raise CheckpointError(f"{folder}: corrupt: it names {name[:100]!a}, which is not a file in it. {ADVICE}")
    path = folder / pure
    if not path.is_file():
        raise CheckpointError(f"{folder}: {name}, a file of the checkpoint, is missing. {ADVICE}")
    return path


def _check_apart(folder: Path, tensors: Mapping[str, SavedTensor]) -> None:
    """Check that no two parts share a byte, so that a folder cannot hold more data than it has bytes."""
    parts: Iterable[tuple[str, int, int]] = sorted(
        (part.file, part.offset, part.size if part.size is not None else 1 << 62)
        for tensor in tensors.values()
        for part in tensor.parts
    )
    file, end = "", 0
    for name, offset, size in parts:
        if name == file and offset < end and size:
            raise CheckpointError(f"{folder}: corrupt: two tensors share bytes of {name} at {offset:,}. {ADVICE}")
        file, end = name, offset + size
