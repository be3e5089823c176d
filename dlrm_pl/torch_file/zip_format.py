"""Read torch's format from version 1.6 on: a zip archive of uncompressed entries.

``NAME/data.pkl`` is the object, a pickle with ``('storage', type, key, location, numel)`` as persistent ids.
``NAME/data/KEY`` holds the bytes of a storage, ``NAME/byteorder`` the byte order and ``NAME/version`` the format's
version.

The archive's central directory is read here and not by ``zipfile``, since it may claim gigabytes, and since the
entries' offsets are needed.

Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.allow_list import make_find_global
from dlrm_pl.torch_file.byte_window import ByteWindow
from dlrm_pl.torch_file.file_range import FileRange
from dlrm_pl.torch_file.file_tensor import Storage
from dlrm_pl.torch_file.legacy_format import storage_of
from dlrm_pl.torch_file.pickle_machine import MAX_PICKLE_BYTES, load_pickle

_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MAX_DIRECTORY_BYTES = 16 << 20
_MAX_COMMENT_BYTES = 1 << 16
_ENCRYPTED = 1
_IN_ZIP64 = 0xFFFFFFFF
_MAX_VERSION = 10  # The last that torch 2.13 reads; float checkpoints have the same layout in all versions.


@dataclass(frozen=True)
class _Entry:
    """An uncompressed entry; ``crc32`` is 0 if the writer recorded no checksum."""

    offset: int
    size: int
    crc32: int


def read_zip(part: FileRange) -> Any:
    """Read the pickled object of a file, or of part of one, with ``StoredTensor`` in place of tensors.

    Raises:
        CheckpointError: the file has another format, version or byte order, is cut short or corrupt, or holds something
            that is not allowed.
    """
    entries = _entries(part)
    names = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if any(name.endswith("/constants.pkl") for name in entries):
        raise CheckpointError("is a TorchScript program, not a checkpoint; give a state_dict")
    if len(names) != 1:
        raise CheckpointError("is a zip archive that contains no checkpoint (NAME/data.pkl)")
    root = names[0].removesuffix("data.pkl")
    order = _small(part, entries, f"{root}byteorder", b"little")  # Missing before torch 2.1.
    if order != b"little":
        raise CheckpointError(f"written with byte order {order[:20]!r}; only little-endian files can be read")
    version = _small(part, entries, f"{root}version", b"3").strip()
    if not version.isdigit() or len(version) > 9 or not 1 <= int(version) <= _MAX_VERSION:
        raise CheckpointError(
            f"has version {version[:20]!r} of torch's format; versions up to {_MAX_VERSION} can be read"
        )
    storages: dict[str, Storage] = {}
    contents = _unpickle(part, entries[names[0]], storages)
    for key, storage in storages.items():
        entry = entries.get(f"{root}data/{key}")
        if entry is None:
            raise CheckpointError(f"corrupt: a tensor's data {key[:40]!r} is missing")
        if entry.size != storage.nbytes:
            raise CheckpointError(
                f"corrupt: the data {key[:40]!r} has {entry.size:,} bytes, but its tensors expect {storage.nbytes:,}"
            )
        storage.offset, storage.crc32 = part.start + entry.offset, entry.crc32 or None
    return contents


def _unpickle(part: FileRange, entry: _Entry, storages: dict[str, Storage]) -> Any:
    if entry.size > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"its pickled object is larger than {MAX_PICKLE_BYTES:,} bytes, more than a checkpoint needs"
        )
    content = part.read(entry.size, entry.offset)
    if entry.crc32 and zlib.crc32(content) != entry.crc32:
        raise CheckpointError("corrupt: checksum mismatch in its pickled object")
    start = part.start + entry.offset
    end = start + entry.size
    window = ByteWindow(part.file.descriptor, start, end, limit=MAX_PICKLE_BYTES, what="its pickled object")
    return load_pickle(window, make_find_global(part.file), lambda saved: storage_of(saved, storages))


def _small(part: FileRange, entries: dict[str, _Entry], name: str, default: bytes) -> bytes:
    """Read an entry of a few bytes."""
    if name not in entries:
        return default
    entry = entries[name]
    content = part.read(min(entry.size, 64), entry.offset)
    if entry.crc32 and entry.size == len(content) and zlib.crc32(content) != entry.crc32:
        raise CheckpointError(f"corrupt: checksum mismatch in the entry {name!r}")
    return content


def _entries(part: FileRange) -> dict[str, _Entry]:
    """Read all entries by name, and check that each lies within the file."""
    start, size, count = _directory(part)
    content = part.read(size, start)
    entries: dict[str, _Entry] = {}
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > len(content):
            raise CheckpointError("corrupt: the zip central directory ends early")
        fields = _CENTRAL.unpack_from(content, position)
        signature, flags, method, crc32, packed, unpacked = (fields[index] for index in (0, 3, 4, 7, 8, 9))
        name_bytes, extra_bytes, comment_bytes, offset = (fields[index] for index in (10, 11, 12, 16))
        names_at = position + _CENTRAL.size
        extra_at = names_at + name_bytes
        position = extra_at + extra_bytes + comment_bytes
        if signature != b"PK\1\2" or position > len(content):
            raise CheckpointError("corrupt: invalid entry in the zip central directory")
        name = content[names_at:extra_at].decode("utf-8", "backslashreplace")
        unpacked, packed, offset = _from_zip64(content[extra_at : extra_at + extra_bytes], unpacked, packed, offset)
        if method or flags & _ENCRYPTED or packed != unpacked:
            raise CheckpointError(f"its entry {name[:60]!r} is compressed or encrypted, which torch never does")
        if name in entries:
            raise CheckpointError(f"corrupt: two entries named {name[:60]!r}")
        entries[name] = _Entry(_data_offset(part, name, offset, unpacked, start), unpacked, crc32)
    _check_apart(entries)
    return entries


def _check_apart(entries: dict[str, _Entry]) -> None:
    """Check that no two entries share a byte, so that a file cannot hold more data than it has bytes."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        if entry.size and entry.offset < end:
            raise CheckpointError(f"corrupt: the data of the entry {name[:60]!r} overlaps with another entry")
        end = max(end, entry.offset + entry.size)


def _data_offset(part: FileRange, name: str, header: int, size: int, limit: int) -> int:
    """Return the offset of an entry's data, which follows from the entry's own header."""
    content = part.read(_LOCAL.size, header) if header <= part.size else b""
    if len(content) < _LOCAL.size or content[:4] != b"PK\3\4":
        raise CheckpointError(f"corrupt: the entry {name[:60]!r} is not where the zip central directory says")
    *_, name_bytes, extra_bytes = _LOCAL.unpack(content)
    offset = header + _LOCAL.size + name_bytes + extra_bytes
    if offset + size > limit:
        raise CheckpointError(
            f"cut short inside the entry {name[:60]!r}: {size:,} bytes are expected from byte {offset:,} on, but the "
            f"data ends at {limit:,}"
        )
    return int(offset)


def _from_zip64(extra: bytes, *values: int) -> list[int]:
    """Return sizes and offset, read from the extra field if they are too large for 32 bits."""
    result = list(values)
    wide = [index for index, value in enumerate(values) if value == _IN_ZIP64]
    position = 0
    while wide and position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            if length < 8 * len(wide) or position + 4 + length > len(extra):
                break
            for place, index in enumerate(wide):
                (result[index],) = struct.unpack_from("<Q", extra, position + 4 + 8 * place)
            return result
        position += 4 + length
    if wide:
        raise CheckpointError("corrupt: an entry of more than 4 GiB has no size in the zip central directory")
    return result


def _directory(part: FileRange) -> tuple[int, int, int]:
    """Return offset, size in bytes and number of entries of the central directory."""
    tail_at = max(0, part.size - _MAX_COMMENT_BYTES - _END.size)
    tail = part.read(part.size - tail_at, tail_at)
    end = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - _END.size + 4))
    if end < 0:
        raise CheckpointError(f"cut short: no zip central directory at the end of its {part.size:,} bytes")
    _, _, _, _, count, size, start, _ = _END.unpack_from(tail, end)
    if start == _IN_ZIP64 or size == _IN_ZIP64 or count == 0xFFFF:
        start, size, count = _directory64(part, tail_at + end)
    if start + size > tail_at + end:
        raise CheckpointError("cut short: the zip central directory is not within the file")
    if size > _MAX_DIRECTORY_BYTES:
        raise CheckpointError(f"corrupt: the zip central directory claims {size:,} bytes, more than a checkpoint needs")
    return start, size, count


def _directory64(part: FileRange, end: int) -> tuple[int, int, int]:
    """Return offset, size and number of entries of the central directory of an archive of more than 4 GiB."""
    locator = part.read(_END64_LOCATOR.size, max(0, end - _END64_LOCATOR.size))
    if len(locator) < _END64_LOCATOR.size or locator[:4] != b"PK\6\7":
        raise CheckpointError("corrupt: the zip64 central directory is missing")
    _, _, position, _ = _END64_LOCATOR.unpack(locator)
    content = part.read(_END64.size, position) if position < part.size else b""
    if len(content) < _END64.size or content[:4] != b"PK\6\6":
        raise CheckpointError("corrupt: the zip64 central directory is not where it should be")
    _, _, _, _, _, _, _, count, size, start = _END64.unpack(content)
    return start, size, count
