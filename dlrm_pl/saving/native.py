"""C++ functions that write a file directly from memory, in this process or in a child process."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.arrays import address
from dlrm_pl.kernels.hashing.blocks import native_digest
from dlrm_pl.kernels.library import Signatures, declare, load_built

VERSION = 2

_SLICE_BYTES = 256 << 20
"""Number of bytes that are written between two checks for ctrl-C: about 0.2 s."""

_INT64 = np.dtype(np.int64)
_POINTER, _LONG, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_char_p
_SIGNATURES: Signatures = {
    "dlrm_saving_crc32": (ctypes.c_uint32, [ctypes.c_uint32, _POINTER, _LONG]),
    "dlrm_saving_job_bytes": (_LONG, []),
    "dlrm_saving_progress_bytes": (_LONG, []),
    "dlrm_saving_begin": (_LONG, [_POINTER, _INT, _POINTER, _LONG, _POINTER, _LONG, *[_POINTER] * 3, _LONG, _LONG]),
    "dlrm_saving_advance": (_LONG, [_POINTER, _LONG]),
    "dlrm_saving_finish": (_LONG, [_POINTER]),
    "dlrm_saving_end": (None, [_POINTER]),
    "dlrm_saving_fork": (_LONG, [_POINTER, _TEXT, _TEXT, _TEXT]),
}


def library() -> ctypes.CDLL | None:
    """Load the library; None if it was not built."""
    native = load_built("saving", VERSION, Path(__file__).parent)
    return None if native is None else declare(native, _SIGNATURES)


class Progress:
    """Progress of writing a file, shared with a child process."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)  # MAP_SHARED, which is the default.
        self.values: npt.NDArray[np.int64] = np.frombuffer(self._memory, np.int64, 5)

    @property
    def written(self) -> int:
        """Number of bytes written so far."""
        return int(self.values[0])

    @property
    def error(self) -> OSError | None:
        """The reason why the file could not be written."""
        number = int(self.values[1])
        return OSError(number, os.strerror(number)) if number else None

    @property
    def not_finite(self) -> tuple[int, int] | None:
        """Part that holds a non-finite value, and the index of that value in it."""
        return (int(self.values[2]), int(self.values[3])) if self.values[2] >= 0 else None

    @property
    def done(self) -> bool:
        """Whether the file is complete and in its place."""
        return bool(self.values[4])


class Job:
    """A job that writes one file.

    Args:
        native: the library.
        file: descriptor of an empty file.
        parts: int64 ``[parts, 6]``: address; size; number of the checksum that the bytes are included in (-1: none);
            kind of the floats that must be finite (0: not checked; 1 float32, 2 float64, 3 bfloat16, 4 float16);
            address for the digests of its blocks (0: none), which lie in a later part; and size of such a block.
        patches: int64 ``[patches, 2]``: position in the file of a checksum's four bytes, and the checksum's number.
        releases: whether a child process may release memory that it has written.
    """

    def __init__(
        self,
        native: ctypes.CDLL,
        file: int,
        parts: npt.NDArray[np.int64],
        patches: npt.NDArray[np.int64],
        *,
        releases: bool,
    ) -> None:
        self._native = native
        self.progress = Progress()
        self._parts, self._patches = parts, patches
        entries = int(max(self._parts[:, 2].max(initial=-1), self._patches[:, 1].max(initial=-1))) + 1
        self._checksums = np.zeros(max(entries, 1), np.uint32)
        self._job = np.zeros(native.dlrm_saving_job_bytes(), np.uint8)
        assert native.dlrm_saving_progress_bytes() == self.progress.values.nbytes
        begun = native.dlrm_saving_begin(
            self._job.ctypes.data,
            file,
            address("parts", parts, _INT64, None, 6),
            len(parts),
            address("patches", patches, _INT64, None, 2),
            len(patches),
            self._checksums.ctypes.data,
            self.progress.values.ctypes.data,
            *(native_digest() or (None, 0)),
            releases,
        )
        if begun < 0:
            raise ShapeError("Digests need blocks of 1 byte to 128 KiB, a checksum, and the native code for hashing.")
        if not begun:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def write(self) -> bool:
        """Write the whole file, while reacting to ctrl-C.

        Returns:
            False if a value is not finite, see ``progress``.

        Raises:
            OSError: the file cannot be written.
        """
        while (left := self._native.dlrm_saving_advance(self._job.ctypes.data, _SLICE_BYTES)) > 0:
            pass
        if left < 0 or not self._native.dlrm_saving_finish(self._job.ctypes.data):
            if (error := self.progress.error) is not None:
                raise error
            return False
        return True

    def fork(self, temporary: Path, target: Path) -> int:
        """Start a child process that writes the whole file from a snapshot of the memory, and renames it.

        Returns:
            The process id of the child.

        Raises:
            OSError: there is not enough memory for it.
        """
        names = (os.fsencode(temporary), os.fsencode(target), os.fsencode(target.parent))
        child = int(self._native.dlrm_saving_fork(self._job.ctypes.data, *names))
        if child < 0:
            raise OSError(-child, os.strerror(-child))
        return child

    def close(self) -> None:
        """Free the buffer."""
        self._native.dlrm_saving_end(self._job.ctypes.data)
