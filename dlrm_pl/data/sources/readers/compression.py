"""Compressed files: recognised by their first bytes, and unpacked while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.readers.endings import ENDINGS
from dlrm_pl.errors import DataFormatError

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ\x00": "an xz file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x9d": "a file compressed by compress",
    b"\xff\x06\x00\x00sNaPpY": "a snappy file",
    b"Rar!": "a rar archive",
}
_FOREIGN_ENDINGS = (".xz", ".zip", ".7z", ".z", ".snappy", ".sz", ".lzo", ".lzma", ".rar", ".tar", ".tgz", ".zlib")


def compression_of(path: Path) -> str | None:
    """Return the compression of a file, by its first bytes if possible, otherwise by its name; None if it has none.

    Raises:
        DataFormatError: the compression is unknown, or the name states a different one than the file has.
        OSError: the file cannot be read.
    """
    with path.open("rb") as handle:
        head = handle.read(16)
    found = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    foreign = next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)
    ending = path.suffix.lower()
    names = path.name.lower()
    if foreign or ending in _FOREIGN_ENDINGS or ".tar." in names:
        known = ", ".join(ENDINGS)
        what = foreign or ("a tar archive" if ".tar." in names else f"compressed in an unknown way ({ending})")
        raise DataFormatError(f"{path}: is {what}. Unpack it, or compress it so that its name ends in one of {known}.")
    stated = ENDINGS.get(ending)
    if stated in _MAGIC.values() and found is None:
        raise DataFormatError(
            f"{path}: is not compressed by {stated}, as its name says; it begins with the bytes {head[:4].hex(' ')}. "
            "Rename it if it is not compressed; otherwise get it again."
        )
    return found or stated


def open_unpacked(path: Path, compression: str | None) -> pa.NativeFile:
    """Open a file for reading its bytes in order, unpacked."""
    return arrow().input_stream(str(path), compression=compression)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise an error that names the file if its contents, not the disk, are at fault.

    Raises:
        DataFormatError: the file is truncated or corrupt.
    """
    pa = arrow()
    try:
        yield
    except pa.ArrowNotImplementedError as error:
        raise DataFormatError(
            f"{path}: cannot be read ({_line(error)}). Write it with another compression or encoding."
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataFormatError(f"{path}: is truncated or corrupt ({_line(error)}). Get it again.") from None


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
