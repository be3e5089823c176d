"""Locate the arrays in an .npz file, which is memory-mapped instead of unpacked."""

from __future__ import annotations

import struct
import zipfile

from dlrm_pl.data.formats.torchrec.mapped_file import ADVICE, Array, MappedFile
from dlrm_pl.errors import DataFormatError

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENCRYPTED = 1
_MOST_MEMBERS = 65_536


def member_arrays(mapped: MappedFile) -> list[Array]:
    """Return the memory-mapped arrays ``0.npy``, ``1.npy`` and so on of an uncompressed archive, in this order.

    Archives and members larger than 4 GiB (zip64) are supported. The checksums in the archive are not compared, since
    that would mean reading all of it.

    Raises:
        DataFormatError: the file is not an archive or is truncated; or a member is compressed or encrypted, has another
            name, or is not an array of numbers.
    """
    path, names = mapped.path, set()
    try:
        with open(mapped.file.descriptor, "rb", closefd=False) as handle, zipfile.ZipFile(handle) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, OSError, ValueError) as error:
        raise DataFormatError(f"{path}: is not a complete zip archive ({error}). {ADVICE}") from error
    if not 0 < len(members) <= _MOST_MEMBERS:
        raise DataFormatError(f"{path}: has {len(members):,} members. {ADVICE}")
    arrays: dict[str, Array] = {}
    for member in members:
        name = member.filename
        if name in names:
            raise DataFormatError(f"{path}: has two members named {name!r}. {ADVICE}")
        names.add(name)
        if member.flag_bits & _ENCRYPTED:
            raise DataFormatError(f"{path}: {name!r} is encrypted. Save it again with numpy.savez.")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise DataFormatError(
                f"{path}: {name!r} is compressed, so it cannot be memory-mapped. Save it again with numpy.savez, "
                "which does not compress."
            )
        arrays[name] = mapped.array(*_place(mapped, member), name)
    expected = [f"{table}.npy" for table in range(len(members))]
    for wanted in expected:
        if wanted not in arrays:
            other = sorted(names - set(expected))
            raise DataFormatError(
                f"{path}: has {len(members)} members, but none is named {wanted}"
                f"{f'; there is {other[0]!r}' if other else ''}. The bags of table 0 are in 0.npy, and so on. {ADVICE}"
            )
    return [arrays[name] for name in expected]


def _place(mapped: MappedFile, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Return the first byte of a member's data and the one after the last, which follow its own header."""
    start = member.header_offset
    header = mapped.data[start : start + _LOCAL.size].tobytes() if start >= 0 else b""
    fields = _LOCAL.unpack(header) if len(header) == _LOCAL.size else None
    if fields is None or fields[0] != b"PK\x03\x04":
        raise DataFormatError(f"{mapped.path}: {member.filename!r} is not where the archive's directory says. {ADVICE}")
    first = start + _LOCAL.size + fields[-2] + fields[-1]
    last = first + member.file_size
    if last > len(mapped.data):
        raise DataFormatError(
            f"{mapped.path}: {member.filename!r} would end at byte {last:,}, but the file has {len(mapped.data):,}. "
            f"{ADVICE}"
        )
    return first, last
