"""Torch's older format, written before version 1.6: pickles one after another, then the data of all storages.

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

Source: ``torch.serialization._legacy_save`` of torch 1.0 to 2.13 writes it.
"""

from __future__ import annotations

import os
import struct
from typing import Any

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.allow_list import StorageType, make_find_global
from dlrm_pl.torch_file.byte_window import ByteWindow
from dlrm_pl.torch_file.pickle_machine import MAX_PICKLE_BYTES, load_pickle
from dlrm_pl.torch_file.stored import OpenFile, Storage

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_COUNT = struct.Struct("<q")


def read_legacy(file: OpenFile) -> Any:
    """Read the directory of a file: its object, with ``StoredTensor`` for tensors.

    Raises:
        CheckpointError: not this format, of another version or byte order, cut short, damaged, or holding what is not
            allowed.
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
        raise CheckpointError("not written by torch: it starts with another magic number")
    if (version := pickled("its protocol version")) != _PROTOCOL_VERSION:
        found = version if isinstance(version, int) else type(version).__name__
        raise CheckpointError(f"has version {found} of torch's older format, only {_PROTOCOL_VERSION} is known")
    system = pickled("the description of the system")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("written on a big-endian machine, whose numbers are not read here")
    contents = pickled("its pickled object", persistent=True)
    keys = pickled("the list of storage keys")
    if not isinstance(keys, list) or set(map(type, keys)) - {str} or len(set(keys)) != len(keys):
        raise CheckpointError("damaged: the list of storage keys is no list of different names")
    for number, key in enumerate(keys):
        if key not in storages:
            raise CheckpointError(f"damaged: no tensor belongs to the data {key[:40]!r}")
        position = _place(file, storages[key], position, f"storage {number + 1} of {len(keys)}")
    if missing := [key for key, storage in storages.items() if storage.offset < 0]:
        raise CheckpointError(f"damaged: the data {missing[0][:40]!r} of a tensor is not in the file")
    return contents


def _place(file: OpenFile, storage: Storage, position: int, what: str) -> int:
    """Find a storage's data; returns the position behind it."""
    start = position + _COUNT.size
    header = os.pread(file.descriptor, _COUNT.size, position)
    if len(header) == _COUNT.size and (count := _COUNT.unpack(header)[0]) != storage.numel:
        raise CheckpointError(f"damaged: {what} has {count:,} elements, its tensors expect {storage.numel:,}")
    if start + storage.nbytes > file.size:
        raise CheckpointError(
            f"cut short inside {what}: its data ends at byte {start + storage.nbytes:,}, the file at {file.size:,}"
        )
    storage.offset = start
    return start + storage.nbytes


def _storage(saved: Any, storages: dict[str, Storage]) -> Storage:
    """The storage of a persistent id."""
    if type(saved) is not tuple or not saved:
        raise CheckpointError("damaged: a reference to data is no tuple")
    if saved[0] == "module":
        raise CheckpointError("holds a whole module with its source text; save the state_dict() of that module instead")
    if len(saved) != 6 or saved[0] != "storage":
        raise CheckpointError("damaged: a reference to data is not one of torch's")
    *reference, view = saved
    if view is not None:
        raise CheckpointError("holds storages that are views of others, as torch wrote before 0.4; save it again")
    return storage_of(tuple(reference), storages)


def storage_of(saved: Any, storages: dict[str, Storage]) -> Storage:
    """The storage that ``('storage', type, key, location, numel)`` describes, new or known.

    Raises:
        CheckpointError: not such a tuple, or another storage under a known key.
    """
    if type(saved) is not tuple or len(saved) != 5 or saved[0] != "storage":
        raise CheckpointError("damaged: a reference to data is not one of torch's")
    _, kind, key, location, numel = saved
    if not isinstance(kind, StorageType) or not isinstance(key, str) or type(numel) is not int or numel < 0:
        raise CheckpointError("damaged: a reference to data has no valid type, key or number of elements")
    if location == "meta":
        raise CheckpointError("holds tensors of the meta device, which have no data")
    known = storages.setdefault(key, Storage(key, kind.dtype, numel))
    if (known.dtype, known.numel) != (kind.dtype, numel):
        raise CheckpointError(f"damaged: the data {key[:40]!r} is described in two ways")
    return known
