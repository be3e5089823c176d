"""Open a torchsnapshot snapshot, such as MLPerf's DLRM v2 checkpoint.

``.snapshot_metadata`` is JSON (YAML in older versions). For each process and each tensor, it lists the files with the
tensor's parts. It does not state the shape of a sharded tensor, which follows from the parts.

Source: written by ``torchsnapshot/manifest.py`` in torchsnapshot 0.1.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import torch

from dlrm_pl.documents.fields import Count, Partial, make, shown
from dlrm_pl.documents.json_text import parse_json, read_text
from dlrm_pl.documents.yaml_text import read_yaml
from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_folder.saved_tensor import ADVICE, SavedPart, SavedTensor, open_tensors

FILE_NAME = ".snapshot_metadata"
_MAX_BYTES = 64 << 20
_DTYPES = {str(kind): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
_KINDS = ("Tensor", "ShardedTensor", "ChunkedTensor")


@dataclass(frozen=True)
class _Stored(Partial):
    """A tensor in a file: all of one, or a part."""

    location: str
    serializer: str
    dtype: str
    shape: list[Count]
    byte_range: list[Count] | None = None


@dataclass(frozen=True)
class _Shard(Partial):
    offsets: list[Count]
    sizes: list[Count]
    tensor: _Stored


class Snapshot:
    """A folder that ``torchsnapshot.Snapshot.take`` wrote.

    Args:
        folder: the folder.

    Attributes:
        folder: the folder.
        tensors: the folder's description of its tensors, by name; the names of nested dicts are joined by dots.
        others: names of everything that is neither a tensor nor a dict.

    Raises:
        CheckpointError: the directory is corrupt, or its format is not supported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / FILE_NAME
        stated = _read(path)
        manifest = stated.get("manifest") if isinstance(stated, dict) else None
        if not isinstance(manifest, dict):
            raise CheckpointError(f"{path}: does not list any tensors. {ADVICE}")
        entries: dict[str, list[dict[str, Any]]] = {}
        for key, entry in manifest.items():
            if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
                raise CheckpointError(f"{path}: {shown(key)} has no type. {ADVICE}")
            _, _, name = str(key).partition("/")  # The process's number comes first.
            entries.setdefault(".".join(map(unquote, name.split("/"))), []).append(entry)
        kinds = {name: found[0]["type"] for name, found in entries.items()}
        self.tensors = {
            name: _tensor(f"{path}: {name}", found) for name, found in entries.items() if kinds[name] in _KINDS
        }
        containers = ("dict", "OrderedDict", "list", *_KINDS)
        self.others = [name for name, kind in kinds.items() if kind not in containers]

    def open(self, names: Iterable[str]) -> dict[str, FileTensor]:
        """Open tensors, see ``open_tensors``."""
        return open_tensors(self.folder, {name: self.tensors[name] for name in names})


def is_snapshot(path: Path) -> bool:
    """Return whether a path is the folder of a snapshot."""
    return (path / FILE_NAME).is_file()


def _read(path: Path) -> Any:
    text = read_text(path, CheckpointError, ADVICE, max_bytes=_MAX_BYTES)
    if text.lstrip().startswith("{"):
        return parse_json(text, str(path), CheckpointError, ADVICE)
    return read_yaml(path, CheckpointError, ADVICE)


def _tensor(where: str, entries: list[dict[str, Any]]) -> SavedTensor:
    """Put together what the processes state of a tensor."""
    first = entries[0]
    if first["type"] == "Tensor":  # Each process may hold a copy.
        stored = make(_Stored, first, where, CheckpointError, ADVICE)
        shape = tuple(stored.shape)
        return SavedTensor(shape, _dtype(where, stored), (_part(where, stored, (0,) * len(shape), shape),))
    field = "shards" if first["type"] == "ShardedTensor" else "chunks"
    shards: dict[str, _Shard] = {}
    for entry in entries if field == "shards" else entries[:1]:
        listed = entry.get(field)
        for value in listed if isinstance(listed, list) else ():
            shard = make(_Shard, value, where, CheckpointError, ADVICE)
            shards.setdefault(str(shard.offsets), shard)
    found = list(shards.values())
    if not found or len({(len(shard.offsets), len(shard.sizes)) for shard in found}) > 1:
        raise CheckpointError(f"{where}: has no parts, or parts of different dimensions. {ADVICE}")
    ends = [[start + size for start, size in zip(s.offsets, s.sizes, strict=False)] for s in found]
    parts = (_part(where, s.tensor, tuple(s.offsets), tuple(s.sizes)) for s in found)
    dtypes = {_dtype(where, shard.tensor) for shard in found}
    if len(dtypes) > 1:
        raise CheckpointError(f"{where}: has parts of different types. {ADVICE}")
    return SavedTensor(tuple(map(max, zip(*ends, strict=False))), dtypes.pop(), tuple(parts))


def _dtype(where: str, stored: _Stored) -> torch.dtype:
    if stored.dtype not in _DTYPES:
        raise CheckpointError(f"{where}: has the unknown type {shown(stored.dtype)}. {ADVICE}")
    return _DTYPES[stored.dtype]


def _part(where: str, stored: _Stored, start: tuple[int, ...], shape: tuple[int, ...]) -> SavedPart:
    if stored.serializer not in ("buffer_protocol", "torch_save"):
        raise CheckpointError(
            f"{where}: was serialized by {shown(stored.serializer)}, like quantized tensors. Give a float checkpoint."
        )
    begin, end = 0, None
    if stored.byte_range is not None:
        if len(stored.byte_range) != 2:
            raise CheckpointError(f"{where}: has no valid range of bytes. {ADVICE}")
        begin, end = stored.byte_range
    size = None if end is None else end - begin
    return SavedPart(start, shape, stored.location, begin, size, is_raw=stored.serializer == "buffer_protocol")
