"""Writes past the system's cache, at places known in advance, from several threads at once.

A usual write copies into fresh pages, one thread at a time for each file: on virtual machines, whose memory is taken
back when it is free, that took from 0.15 to 2.2 s for 768 MB, all of it while other threads waited to write to the same
file. Past the cache it took 0.35 to 0.45 s, waiting for the disk and not for each other.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.files.complete_io import write_at

ALIGNMENT = 4096
"""Of places in the file and in memory: a page, which suits every disk."""

_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
# A usual write of this size is given the pages that deleted files leave. Larger ones ask for larger pages, which are
# always fresh memory (measured: 1.7 s instead of 0.2 for 770 MB).
USUAL_WRITE_BYTES = 256 << 10


class AlignedBuffer:
    """Memory for one write at a time, which begins at the same place within a page as its place in the file.

    Args:
        size_bytes: of the largest write.
    """

    def __init__(self, size_bytes: int) -> None:
        self._memory = np.empty(size_bytes + 2 * ALIGNMENT, np.uint8)
        self._first = -self._memory.ctypes.data % ALIGNMENT

    def at(self, offset: int, size_bytes: int) -> npt.NDArray[np.uint8]:
        """The memory for a write of so many bytes at a place in the file."""
        first = self._first + offset % ALIGNMENT
        return self._memory[first : first + size_bytes]


class DirectFile:
    """A file that is written in parts that do not overlap, in any order.

    Where the file system has no writes past the cache, usual ones take their place. Pages that two parts share are
    always written so.

    Args:
        path: of the file, which must be there.
        start: from where on it will be written.
        end: size that it will have; room on the disk is taken for it.

    Raises:
        OSError: the disk has no room.
    """

    def __init__(self, path: Path, start: int, end: int) -> None:
        self._usual = os.open(path, os.O_WRONLY)
        self._direct: int | None = None
        try:
            self._direct = os.open(path, os.O_WRONLY | os.O_DIRECT)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        try:
            _reserve(self._usual, start, end)
        except OSError:
            self.close()
            raise

    def write(self, offset: int, data: npt.NDArray[np.uint8]) -> None:
        """Write a part.

        Args:
            offset: its place in the file.
            data: contiguous; past the cache when it begins at the same place within a page as ``offset``.
        """
        end = offset + len(data)
        first, last = -(-offset // ALIGNMENT) * ALIGNMENT, end // ALIGNMENT * ALIGNMENT
        if self._direct is None or first >= last or (data.ctypes.data - offset) % ALIGNMENT:
            self._write_usual(offset, data.data)
            return
        self._write_usual(offset, data[: first - offset].data)
        try:
            write_at(self._direct, data[first - offset : last - offset].data, first)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._write_usual(first, data[first - offset : last - offset].data)
        self._write_usual(last, data[last - offset :].data)

    def close(self) -> None:
        """Close it."""
        for descriptor in (self._usual, self._direct):
            if descriptor is not None:
                os.close(descriptor)

    def _write_usual(self, offset: int, view: memoryview) -> None:
        for start in range(0, len(view), USUAL_WRITE_BYTES):
            write_at(self._usual, view[start : start + USUAL_WRITE_BYTES], offset + start)
        if len(view) > ALIGNMENT:
            # "Not needed" also means "write it to the disk now", while the next records are computed.
            os.posix_fadvise(self._usual, offset, len(view), os.POSIX_FADV_DONTNEED)


def _reserve(descriptor: int, start: int, end: int) -> None:
    """Take room on the disk, so that writes to different places need not wait for each other."""
    if end <= start:
        return
    # Not posix_fallocate, which writes to every block where the file system cannot reserve.
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(descriptor, 0, start, end - start):
        number = ctypes.get_errno()
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number))
        os.ftruncate(descriptor, end)
