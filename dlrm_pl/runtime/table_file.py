"""Packed tables as safetensors files, one each, written block by block and read through a memory map.

With one file per table, a search packs each table once, directly into the folder of the artifact, and all trials share
it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dlrm_pl.documents.fields import Count, Partial, make
from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import ArtifactError
from dlrm_pl.files.complete_io import write_all
from dlrm_pl.files.mapped import map_tensor
from dlrm_pl.kernels.int8.rows import TableDtype, row_bytes

_DTYPES = {"U8": torch.uint8, "F16": torch.float16, "F32": torch.float32}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_NAME = "table"  # Name of the only tensor in the file.
_ALIGNMENT = 4096  # Rows begin at a page boundary, as direct reads require.
_LARGEST_HEADER = 1 << 16
_DAMAGED = "The file is corrupt; copy the artifact again, or quantize again."


@dataclass(frozen=True)
class _Entry:
    """Entry of a tensor in the header of a safetensors file."""

    dtype: Literal["U8", "F16", "F32"]
    shape: tuple[Count, Count]
    data_offsets: tuple[Count, Count]


@dataclass(frozen=True)
class _Header(Partial):
    """Header of a table file, of which only the entry of the table is read."""

    table: _Entry


def storage_dtype(dtype: TableDtype) -> torch.dtype:
    """Return the dtype of the tensor that holds a packed table."""
    return {"fp16": torch.float16, "fp32": torch.float32}.get(dtype, torch.uint8)


def file_header(kind: torch.dtype, shape: tuple[int, int]) -> bytes:
    """Return the bytes before the rows: the length of the header, and the header padded to a page."""
    size = prod(shape) * kind.itemsize
    entry = {"dtype": _NAMES[kind], "shape": list(shape), "data_offsets": [0, size]}
    text = json.dumps({_NAME: entry}, separators=(",", ":")).encode().ljust(_ALIGNMENT - 8)
    return struct.pack("<Q", len(text)) + text


def write_table(path: Path, dtype: TableDtype, rows: int, embedding_dim: int, blocks: Iterable[Tensor]) -> str:
    """Write a packed table and return the SHA-256 of the file; see ``write_rows``."""
    kind = storage_dtype(dtype)
    return write_rows(path, kind, (rows, row_bytes(dtype, embedding_dim) // kind.itemsize), blocks)


def write_rows(path: Path, kind: torch.dtype, shape: tuple[int, int], blocks: Iterable[Tensor]) -> str:
    """Write rows block by block; a thread writes one block while the caller makes the next.

    Args:
        path: file to write.
        kind: type of the elements.
        shape: shape of all rows together.
        blocks: contiguous blocks of rows, in order. A block may be reused once the second block after it is requested.

    Returns:
        sha256 of the file.

    Raises:
        OSError: the file cannot be written.
    """
    digest = hashlib.sha256()
    written = 0
    with path.open("wb", buffering=0) as handle, ThreadPoolExecutor(1) as writer:

        def append(data: memoryview | bytes) -> None:
            write_all(handle.fileno(), data)
            digest.update(data)

        pending: Future[None] = writer.submit(append, file_header(kind, shape))
        for block in blocks:
            data = block.view(torch.uint8).view(-1).numpy().data
            pending.result()
            pending = writer.submit(append, data)
            written += len(data)
        pending.result()
    expected = prod(shape) * kind.itemsize
    assert written == expected, f"{path}: {written} of {expected} bytes were packed"
    return digest.hexdigest()


def map_table(path: Path) -> Tensor:
    """Map the packed rows of a file that ``write_table`` wrote.

    Raises:
        ArtifactError: the file is missing, cut short, or not a table file.
    """
    try:
        with path.open("rb") as handle:
            size = struct.unpack("<Q", handle.read(8))[0]
            if size > _LARGEST_HEADER:
                raise ValueError(f"a header of {size} bytes")
            header = parse_json(handle.read(size), str(path), ArtifactError, _DAMAGED)
        entry = make(_Header, header, f"{path}: its header", ArtifactError, _DAMAGED).table
        kind = _DTYPES[entry.dtype]
        if entry.data_offsets != (0, prod(entry.shape) * kind.itemsize):
            raise ValueError(f"a header that states {entry}")
        return map_tensor(path, kind, entry.shape, 8 + size)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}.") from error
    except (ValueError, struct.error) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). {_DAMAGED}") from error
