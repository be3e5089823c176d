"""Open a distributed torch checkpoint (DCP), whose tensors are in parts, in files of several processes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.directory import open_file
from dlrm_pl.torch_file.file_tensor import FileTensor
from dlrm_pl.torch_folder.dcp_metadata import FILE_NAME, Record, read_metadata
from dlrm_pl.torch_folder.saved_tensor import ADVICE, SavedPart, SavedTensor, open_tensors


class DistributedCheckpoint:
    """A folder that ``torch.distributed.checkpoint.save`` wrote.

    Args:
        folder: the folder.

    Attributes:
        folder: the folder.
        tensors: the folder's description of its tensors, by name.
        others: names of everything else that it holds.

    Raises:
        CheckpointError: the folder is incomplete, its directory is corrupt, or its format is not supported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / FILE_NAME
        if not path.is_file():
            raise CheckpointError(
                f"{folder}: is not a whole checkpoint: {FILE_NAME}, which is written last, is missing. {ADVICE}"
            )
        try:
            fields = read_metadata(open_file(path)).fields
            places = _places(fields.get("storage_data"))
            described = _dict(fields.get("state_dict_metadata"))
            self.tensors = {
                name: _tensor(name, entry, places)
                for name, entry in described.items()
                if isinstance(entry, Record) and entry.kind == "TensorStorageMetadata"
            }
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {str(error).rstrip('.')}. {ADVICE}") from error
        self.others = [str(name) for name in described if name not in self.tensors]

    def open(self, names: Iterable[str]) -> dict[str, FileTensor]:
        """Open tensors, see ``open_tensors``."""
        return open_tensors(self.folder, {name: self.tensors[name] for name in names})


def _dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise CheckpointError("corrupt: it lists no tensors or no files")
    return value


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or any(type(number) is not int or number < 0 for number in value):
        raise CheckpointError(f"corrupt: it has {shown(value)} where a size or a position is expected")
    return value


def _places(stored: Any) -> dict[str, Record]:
    """Map name and position of each part to where it is stored."""
    places: dict[str, Record] = {}
    for index, info in _dict(stored).items():
        if not isinstance(index, Record) or not isinstance(info, Record) or info.kind != "_StorageInfo":
            raise CheckpointError("corrupt: it does not state files, positions and sizes")
        places[_key(index.fields.get("fqn"), index.fields.get("offset"))] = info
    return places


def _key(name: Any, start: Any) -> str:
    # Text is used, since tuples of numbers can be crafted to have the same hash.
    return f"{name}:{','.join(map(str, start)) if isinstance(start, tuple) else ''}"


def _tensor(name: Any, entry: Record, places: dict[str, Record]) -> SavedTensor:
    properties, chunks = entry.fields.get("properties"), entry.fields.get("chunks")
    shape = _numbers(entry.fields.get("size"))
    state = properties.fields.get("state") if isinstance(properties, Record) else None
    dtype = state[0] if isinstance(state, tuple) and state else None
    if not isinstance(dtype, torch.dtype) or not isinstance(chunks, list) or not isinstance(name, str):
        raise CheckpointError(f"corrupt: it does not state the type and parts of {shown(name)}")
    return SavedTensor(shape, dtype, tuple(_part(name, chunk, places) for chunk in chunks))


def _part(name: str, chunk: Any, places: dict[str, Record]) -> SavedPart:
    fields = chunk.fields if isinstance(chunk, Record) else {}
    start, shape = _numbers(fields.get("offsets")), _numbers(fields.get("sizes"))
    info = places.get(_key(name, start)) or (places.get(_key(name, None)) if not any(start) else None)
    if info is None:
        raise CheckpointError(f"corrupt: it does not state where the part {list(start)} of {name} is")
    if info.fields.get("transform_descriptors"):
        raise CheckpointError(
            f"{name} is compressed or transformed, which is not supported; save it without extensions"
        )
    file, offset, length = (info.fields.get(key) for key in ("relative_path", "offset", "length"))
    if type(file) is not str or type(offset) is not int or type(length) is not int:
        raise CheckpointError(f"corrupt: it does not state where {name} is")
    return SavedPart(start, shape, file, offset, length)
