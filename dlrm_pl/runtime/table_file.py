"""A packed table in a safetensors file of its own: written block by block, read through a map.

One file a table, so that a search packs each table once, straight into the artifact it may become part of, and trials
share it.
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
_NAME = "table"  # Of the one tensor in the file.
_ALIGNMENT = 4096  # Rows begin at a page, as the kernels and direct reads like it.
_LARGEST_HEADER = 1 << 16
_DAMAGED = "The file is damaged; quantize again."


@dataclass(frozen=True)
class _Entry:
    """Of a tensor in a safetensors file."""

    dtype: Literal["U8", "F16", "F32"]
    shape: tuple[Count, Count]
    data_offsets: tuple[Count, Count]


@dataclass(frozen=True)
class _Header(Partial):
    """What stands before the rows."""

    table: _Entry


def storage_dtype(dtype: TableDtype) -> torch.dtype:
    """The type of a packed table's tensor."""
    return {"fp16": torch.float16, "fp32": torch.float32}.get(dtype, torch.uint8)


def file_name(index: int, dtype: TableDtype) -> str:
    """Name of the file of a table in an artifact."""
    return f"table-{index:02d}-{dtype}.safetensors"


def file_header(kind: torch.dtype, shape: tuple[int, int]) -> bytes:
    """What stands before the rows."""
    size = prod(shape) * kind.itemsize
    entry = {"dtype": _NAMES[kind], "shape": list(shape), "data_offsets": [0, size]}
    text = json.dumps({_NAME: entry}, separators=(",", ":")).encode().ljust(_ALIGNMENT - 8)
    return struct.pack("<Q", len(text)) + text


def write_table(path: Path, dtype: TableDtype, rows: int, embedding_dim: int, blocks: Iterable[Tensor]) -> str:
    """Write a packed table; see ``write_rows``."""
    kind = storage_dtype(dtype)
    return write_rows(path, kind, (rows, row_bytes(dtype, embedding_dim) // kind.itemsize), blocks)


def write_rows(path: Path, kind: torch.dtype, shape: tuple[int, int], blocks: Iterable[Tensor]) -> str:
    """Write rows; a thread writes one block while the next one is made.

    Args:
        path: of the file.
        kind: of the elements.
        shape: of all rows together.
        blocks: of rows, in order, contiguous. At most the last two that were given are still in use.

    Returns:
        sha256 of the file.

    Raises:
        OSError: it cannot be written.
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
    assert written == expected, f"{path}: {written} bytes were packed of {expected}"
    return digest.hexdigest()


def map_table(path: Path) -> Tensor:
    """The packed rows of a file that ``write_table`` wrote, mapped.

    Raises:
        ArtifactError: missing, cut short, or not such a file.
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
            raise ValueError(f"a header that says {entry}")
        return map_tensor(path, kind, entry.shape, 8 + size)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}.") from error
    except (ValueError, struct.error) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). {_DAMAGED}") from error
