"""Reads a safetensors file; written from docs/formats.md alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

_TYPES = {"U8": "u1", "I8": "i1", "I32": "<i4", "I64": "<i8", "F16": "<f2", "F32": "<f4", "BF16": "<u2"}


def read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return all tensors by name, bfloat16 as float32, and the metadata."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(content[first:last], _TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = floats_of_bfloat16(values) if entry["dtype"] == "BF16" else values
    return tensors, metadata


def floats_of_bfloat16(halves: Array) -> Array:
    """Return float32 numbers whose upper halves are given as uint16."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
