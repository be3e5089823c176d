"""Names that the directory of a distributed checkpoint, a pickle, may use; any other name is refused.

No Python or torch function is called: each name stands for a record of the fields that the pickle gives it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.byte_window import ByteWindow
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.pickle_machine import MAX_PICKLE_BYTES, Buildable, Function, load_pickle

FILE_NAME = ".metadata"
_MODULE = "torch.distributed.checkpoint"
_EARLIER_MODULE = "torch.distributed._shard.sharded_tensor.metadata"


@dataclass(eq=False)
class Record(Buildable):
    """A pickled object, represented by its fields.

    Attributes:
        kind: name of its class.
        fields: its attributes by name, or ``state`` if the pickle sets a state that is not a dict of attributes.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        """Set the attributes."""
        named = type(state) is dict and all(type(name) is str for name in state)
        self.fields = dict(state) if named else {"state": state}


class Index(Record):
    """A ``MetadataIndex``, which is a key in the directory."""

    is_key = True


def read_metadata(file: OpenFile) -> Record:
    """Read the directory of a distributed checkpoint.

    Args:
        file: the folder's file ``.metadata``.

    Returns:
        The ``Metadata``, with a ``Record`` for each object in it.

    Raises:
        CheckpointError: the file is cut short or corrupt, or names something that is not allowed.
    """
    window = ByteWindow(file.descriptor, 0, file.size, limit=MAX_PICKLE_BYTES, what="its pickled directory")
    found = load_pickle(window, _find_global)
    if not isinstance(found, Record) or found.kind != "Metadata":
        raise CheckpointError("is not the directory of a distributed checkpoint of torch")
    return found


def is_dcp(path: Path) -> bool:
    """Return whether a path is the folder of a distributed torch checkpoint, complete or not."""
    return path.is_dir() and (
        (path / FILE_NAME).is_file() or any(name.endswith(".distcp") for name in os.listdir(path))
    )


def _record(name: str) -> Function:
    kind = Index if name == "MetadataIndex" else Record
    return Function(name, lambda *_: kind(name))


def _size(values: Any = ()) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise CheckpointError(f"corrupt: a size is made from a {type(values).__name__}")
    return tuple(values)


def _find_global(module: str, name: str) -> Any:
    full = f"{module}.{name}"
    if full not in _GLOBALS:
        printable = ascii(full[:100])[1:-1]
        raise CheckpointError(f"holds {printable}, which is not allowed in a checkpoint; none of its code was run")
    return _GLOBALS[full]


_GLOBALS: dict[str, Any] = {
    **{
        f"{_MODULE}.metadata.{name}": _record(name)
        for name in (
            "Metadata",
            "MetadataIndex",
            "TensorStorageMetadata",
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "TensorProperties",
            "StorageMeta",
            "_MEM_FORMAT_ENCODING",
        )
    },
    # Before version 2.3, torch had two of these classes in another module.
    **{f"{_EARLIER_MODULE}.{name}": _record(name) for name in ("TensorProperties", "MEM_FORMAT_ENCODING")},
    **{f"{_MODULE}.filesystem.{name}": _record(name) for name in ("_StorageInfo", "_StoragePrefix")},
    # The path that the checkpoint was written to, which is not used.
    **{f"{home}.{name}": _record(name) for home in ("pathlib", "pathlib._local") for name in ("PosixPath", "Path")},
    "torch.Size": Function("torch.Size", _size),
    "torch.serialization._get_layout": _record("layout"),
    **{f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
}
