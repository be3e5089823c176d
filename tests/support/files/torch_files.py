"""Files in torch's formats, made without the package: also many gigabytes, of which few pages are stored on disk."""

from __future__ import annotations

import collections
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True, eq=False)
class Sparse:
    """A float32 table whose rows are mostly zero: a hole in the file."""

    shape: tuple[int, int]
    rows: Mapping[int, torch.Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]

    def write(self, handle: BinaryIO, offset: int) -> None:
        for row, values in self.rows.items():
            handle.seek(offset + 4 * self.shape[1] * row)
            handle.write(values.numpy().tobytes())


@dataclass(frozen=True, eq=False)
class _Data:
    of: torch.Tensor | Sparse
    key: str


class _LegacyPickler(pickle.Pickler):
    """Writes float32 tensors of any size as torch before 1.6 did."""

    def __init__(self, handle: BinaryIO) -> None:
        super().__init__(handle, protocol=2)
        self.data: list[_Data] = []

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Data):
            return None
        shape = value.of.shape
        numel = shape[0] * shape[1] if len(shape) == 2 else shape[0]
        return "storage", torch.FloatStorage, value.key, "cpu", numel, None

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor | Sparse):
            return NotImplemented
        self.data.append(_Data(value, f"9{len(self.data):013d}"))
        shape = tuple(value.shape)
        stride = (shape[1], 1) if len(shape) == 2 else (1,)
        hooks: dict[str, Any] = collections.OrderedDict()
        return torch._utils._rebuild_tensor_v2, (self.data[-1], 0, shape, stride, False, hooks)


def save_sparse(contents: dict[str, Any], path: Path, kind: str) -> Path:
    """Write dicts of plain values, contiguous float32 tensors of one or two dimensions, and ``Sparse``.

    Args:
        contents: contents of the file.
        path: file to write.
        kind: ``zip`` or ``legacy``.
    """
    (_save_legacy if kind == "legacy" else _save_zip)(contents, path)
    return path


def _save_legacy(contents: dict[str, Any], path: Path) -> None:
    with path.open("wb") as handle:
        for header in (MAGIC_NUMBER, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
            pickle.dump(header, handle, protocol=2)
        pickler = _LegacyPickler(handle)
        pickler.dump(contents)
        pickle.dump([data.key for data in pickler.data], handle, protocol=2)
        for data in pickler.data:
            size = data.of.nbytes
            handle.write(struct.pack("<q", size // 4))
            start = handle.tell()
            if isinstance(data.of, Sparse):
                data.of.write(handle, start)
            else:
                handle.write(data.of.detach().numpy().tobytes())
            handle.truncate(start + size)
            handle.seek(start + size)


def _save_zip(contents: dict[str, Any], path: Path) -> None:
    """Let torch write the file with holes for tensors without data, then fill the holes with data."""
    tensors: list[torch.Tensor | Sparse] = []

    def fake(value: Any) -> Any:
        if isinstance(value, dict):
            return type(value)((key, fake(item)) for key, item in value.items())
        if isinstance(value, torch.Tensor | Sparse):
            tensors.append(value)
            return torch.empty(tuple(value.shape))
        return value

    with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(fake(contents), path)
    reader = torch._C.PyTorchFileReader(str(path))
    with path.open("r+b") as handle:
        for number, tensor in enumerate(tensors):
            offset = reader.get_record_offset(f"data/{number}")
            if isinstance(tensor, Sparse):
                tensor.write(handle, offset)
            else:
                handle.seek(offset)
                handle.write(tensor.detach().numpy().tobytes())
