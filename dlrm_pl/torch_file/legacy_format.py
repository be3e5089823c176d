"""Read torch's format from before version 1.6: consecutive pickles, then the data of all storages.

====================  ====================================================================================
part                  content
====================  ====================================================================================
magic number          a pickled number of 80 bits
protocol version      the pickled number 1001
system                a pickled dict: byte order, sizes of C's types
object                a pickle with ``('storage', type, key, location, numel, view)`` as persistent ids
keys                  a pickled list of the storages' keys, in the order of their data
for each key          the number of elements as int64, then the elements; nothing is aligned
====================  ====================================================================================

Source: written by ``torch.serialization._legacy_save`` in torch 1.0 to 2.13.
"""

from __future__ import annotations

import os
import struct
from typing import Any

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.allow_list import StorageType, make_find_global
from dlrm_pl.torch_file.byte_window import ByteWindow
from dlrm_pl.torch_file.file_tensor import Storage
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.pickle_machine import MAX_PICKLE_BYTES, load_pickle

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_COUNT = struct.Struct("<q")


def read_legacy(file: OpenFile) -> Any:
    """Read the pickled object of a file, with ``StoredTensor`` in place of tensors.

    Raises:
        CheckpointError: the file has another format, version or byte order, is cut short or corrupt, or holds something
            that is not allowed.
    """
    find_global = make_find_global(file)
    storages: dict[str, Storage] = {}
    position = 0

    def pickled(what: str, persistent: bool = False) -> Any:
        nonlocal position
        window = ByteWindow(file.descriptor, position, file.size, limit=MAX_PICKLE_BYTES, what=what)
        value = load_pickle(window, find_global, (lambda saved: _storage(saved, storages)) if persistent else None)
        position = window.position
        return value

    if pickled("its magic number") != MAGIC_NUMBER:
        raise CheckpointError("not a file of torch: its magic number is different")
    if (version := pickled("its protocol version")) != _PROTOCOL_VERSION:
        stated = version if isinstance(version, int) else type(version).__name__
        raise CheckpointError(
            f"has version {stated} of torch's older format, but only version {_PROTOCOL_VERSION} can be read"
        )
    system = pickled("the description of the system")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("written on a big-endian machine; only little-endian files can be read")
    contents = pickled("its pickled object", persistent=True)
    keys = pickled("the list of storage keys")
    if not isinstance(keys, list) or set(map(type, keys)) - {str} or len(set(keys)) != len(keys):
        raise CheckpointError("corrupt: the list of storage keys is not a list of distinct names")
    for number, key in enumerate(keys):
        if key not in storages:
            raise CheckpointError(f"corrupt: no tensor uses the data {key[:40]!r}")
        position = _place(file, storages[key], position, f"storage {number + 1} of {len(keys)}")
    if missing := [key for key, storage in storages.items() if storage.offset < 0]:
        raise CheckpointError(f"corrupt: the data {missing[0][:40]!r} of a tensor is missing")
    return contents


def _place(file: OpenFile, storage: Storage, position: int, what: str) -> int:
    """Find a storage's data, and return the position after it."""
    start = position + _COUNT.size
    header = os.pread(file.descriptor, _COUNT.size, position)
    if len(header) == _COUNT.size and (count := _COUNT.unpack(header)[0]) != storage.numel:
        raise CheckpointError(f"corrupt: {what} has {count:,} elements, but its tensors expect {storage.numel:,}")
    if start + storage.nbytes > file.size:
        raise CheckpointError(
            f"cut short inside {what}: its data ends at byte {start + storage.nbytes:,}, but the file at {file.size:,}"
        )
    storage.offset = start
    return start + storage.nbytes


def _storage(saved: Any, storages: dict[str, Storage]) -> Storage:
    """Return the storage of a persistent id."""
    if type(saved) is not tuple or not saved:
        raise CheckpointError("corrupt: a reference to data is not a tuple")
    if saved[0] == "module":
        raise CheckpointError("holds a whole module with its source code; save the state_dict() of that module instead")
    if len(saved) != 6 or saved[0] != "storage":
        raise CheckpointError("corrupt: a reference to data is not in torch's form")
    *reference, view = saved
    if view is not None:
        raise CheckpointError(
            "holds storages that are views of others, as torch wrote before version 0.4; save it again with a later "
            "version"
        )
    return storage_of(tuple(reference), storages)


def storage_of(saved: Any, storages: dict[str, Storage]) -> Storage:
    """Return the storage for ``('storage', type, key, location, numel)``, and add it if it is new.

    Raises:
        CheckpointError: the tuple has another form, or contradicts an earlier description of the same key.
    """
    if type(saved) is not tuple or len(saved) != 5 or saved[0] != "storage":
        raise CheckpointError("corrupt: a reference to data is not in torch's form")
    _, kind, key, location, numel = saved
    if not isinstance(kind, StorageType) or not isinstance(key, str) or type(numel) is not int or numel < 0:
        raise CheckpointError("corrupt: a reference to data has an invalid type, key or number of elements")
    if location == "meta":
        raise CheckpointError("holds tensors of the meta device, which have no data")
    known = storages.setdefault(key, Storage(key, kind.dtype, numel))
    if (known.dtype, known.numel) != (kind.dtype, numel):
        raise CheckpointError(f"corrupt: the data {key[:40]!r} is described in two ways")
    return known
