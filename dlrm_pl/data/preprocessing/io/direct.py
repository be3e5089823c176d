"""Direct writes (O_DIRECT), which bypass the page cache, to one file from several threads.

A buffered write copies into fresh pages, and only one thread at a time can do so for each file. On virtual machines
that return free memory to their host, this took 0.15 to 2.2 s for 768 MB, while other threads waited to write to the
same file. Direct writes took 0.35 to 0.45 s, and threads waited only for the disk, not for each other.
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
"""Alignment of direct writes in the file and in memory, in bytes: a page, which suits every disk."""

_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
BUFFERED_WRITE_BYTES = 256 << 10
"""Size of a buffered write.

Writes of this size reuse the pages that deleted files leave free. Larger writes request larger pages, which are always
fresh memory (measured: 1.7 s instead of 0.2 s for 770 MB).
"""


class AlignedBuffer:
    """Memory for one write at a time, aligned within a page like its offset in the file.

    Args:
        size_bytes: size of the largest write.
    """

    def __init__(self, size_bytes: int) -> None:
        self._memory = np.empty(size_bytes + 2 * ALIGNMENT, np.uint8)
        self._first = -self._memory.ctypes.data % ALIGNMENT

    def at(self, offset: int, size_bytes: int) -> npt.NDArray[np.uint8]:
        """Return the memory for a write of ``size_bytes`` at an offset in the file."""
        first = self._first + offset % ALIGNMENT
        return self._memory[first : first + size_bytes]


class DirectFile:
    """A file that is written in any order, in parts that do not overlap.

    Writes are buffered instead of direct if the file system does not support direct writes, and for pages that two
    parts share.

    Args:
        path: existing file.
        start: first byte that will be written.
        end: final size of the file; its disk space is reserved.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, path: Path, start: int, end: int) -> None:
        self._buffered = os.open(path, os.O_WRONLY)
        self._direct: int | None = None
        try:
            self._direct = os.open(path, os.O_WRONLY | os.O_DIRECT)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        try:
            _reserve(self._buffered, start, end)
        except OSError:
            self.close()
            raise

    def write(self, offset: int, data: npt.NDArray[np.uint8]) -> None:
        """Write a part.

        Args:
            offset: offset of the first byte in the file.
            data: contiguous bytes; written directly if their address has the same alignment within a page as
                ``offset``.
        """
        end = offset + len(data)
        first, last = -(-offset // ALIGNMENT) * ALIGNMENT, end // ALIGNMENT * ALIGNMENT
        if self._direct is None or first >= last or (data.ctypes.data - offset) % ALIGNMENT:
            self._write_buffered(offset, data.data)
            return
        self._write_buffered(offset, data[: first - offset].data)
        try:
            write_at(self._direct, data[first - offset : last - offset].data, first)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._write_buffered(first, data[first - offset : last - offset].data)
        self._write_buffered(last, data[last - offset :].data)

    def close(self) -> None:
        """Close the file."""
        for descriptor in (self._buffered, self._direct):
            if descriptor is not None:
                os.close(descriptor)

    def _write_buffered(self, offset: int, view: memoryview) -> None:
        for start in range(0, len(view), BUFFERED_WRITE_BYTES):
            write_at(self._buffered, view[start : start + BUFFERED_WRITE_BYTES], offset + start)
        if len(view) > ALIGNMENT:
            # DONTNEED also starts writing to the disk now, while the next records are computed.
            os.posix_fadvise(self._buffered, offset, len(view), os.POSIX_FADV_DONTNEED)


def _reserve(descriptor: int, start: int, end: int) -> None:
    """Reserve disk space, so that writes to different places need not wait for each other."""
    if end <= start:
        return
    # Not posix_fallocate, which writes to every block if the file system cannot reserve space.
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(descriptor, 0, start, end - start):
        number = ctypes.get_errno()
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number))
        os.ftruncate(descriptor, end)
