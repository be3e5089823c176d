"""Reads, writes and syncs that are complete when they return.

The system may cut a single read or write short: by a signal, at 2 GiB, or on a network's file system.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Protocol


class Readable(Protocol):
    """An open file that fills memory."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read into the buffer; returns the number of bytes, at most the buffer's size."""


def read_into(handle: Readable, view: memoryview) -> int:
    """Fill memory with the next bytes of an open file; returns their number, which is less only at the file's end."""
    done = 0
    while done < len(view) and (count := handle.readinto(view[done:])):
        done += count
    return done


def read_at(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill memory with the bytes at an offset; returns their number, which is less only at the file's end."""
    done = 0
    while done < len(view) and (count := os.preadv(descriptor, [view[done:]], offset + done)):
        done += count
    return done


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes (not elements of another size) at the file's current position."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all bytes at an offset."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def sync_path(path: Path) -> None:
    """Force the contents of a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_handle(handle: IO[str] | IO[bytes]) -> None:
    """Force everything that was written to an open file to disk."""
    handle.flush()
    os.fsync(handle.fileno())
