"""A file that is mapped as a whole, and the arrays in it."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.watched import FileState, WatchedFile

Array = npt.NDArray[Any]

ADVICE = "Copy the file again, or make it again."
_MOST_HEADER = 10_000
"""Size of the longest header that is read, in bytes; headers of numeric arrays have 128."""
_HEADER = re.compile(
    rb"\{\s*'descr':\s*'(?P<descr>[<>|=]?[a-zA-Z][0-9]{0,9})',\s*'fortran_order':\s*(?P<fortran>True|False),"
    rb"\s*'shape':\s*\((?P<shape>(?:[0-9]{1,18},?\s*)*)\),?\s*\}\s*"
)


class MappedFile:
    """An open file of arrays that is memory-mapped read-only; nothing is read yet.

    Args:
        path: the file.
        state: state that the file must have; None: its current state.

    Raises:
        DataFormatError: the file is missing, unreadable or empty, or has another state.

    Attributes:
        path: the file.
        file: its descriptor, which is used to detect changes.
        data: its bytes, uint8 ``[size]``.
    """

    def __init__(self, path: Path, state: FileState | None = None) -> None:
        self.path = path
        try:
            self.file = WatchedFile(path, DataFormatError)
        except FileNotFoundError as error:
            raise DataFormatError(f"{path}: is missing. {ADVICE}") from error
        except OSError as error:
            raise DataFormatError(f"{path}: cannot be read ({error.strerror}).") from error
        if state is not None and state != self.file.state:
            raise DataFormatError(
                f"{path}: was replaced or changed since the dataset was opened: it had {state}, and now has "
                f"{self.file.state}. Run the command again."
            )
        if not self.file.state.size:
            raise DataFormatError(f"{path}: is empty. {ADVICE}")
        try:
            self._map = mmap.mmap(self.file.descriptor, 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataFormatError(f"{path}: cannot be mapped into memory ({error.strerror}).") from error
        self.data = np.frombuffer(self._map, np.uint8)

    def will_need(self, array: Array, first: int, last: int) -> None:
        """Let the kernel read rows of an array of the file into memory in the background."""
        start = array.ctypes.data - self.data.ctypes.data
        begin = (start + first * array.strides[0]) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_WILLNEED, begin, min(start + last * array.strides[0], len(self.data)) - begin)

    def array(self, start: int = 0, stop: int | None = None, member: str = "") -> Array:
        """Return the array whose .npy representation fills a range of the file's bytes, without a copy.

        Args:
            start: first byte.
            stop: byte after the last one; None: the end of the file.
            member: name of the array in the file, for messages.

        Raises:
            DataFormatError: there is no such array; or it holds objects, which would have to be unpickled; or it is not
                in row-major order; or bytes are missing or left over.
        """
        stop = len(self.data) if stop is None else stop
        where = f"{self.path}: {member}: " if member else f"{self.path}: "
        shape, fortran, dtype, first = self._header(start, stop, where)
        if dtype.hasobject:
            raise DataFormatError(f"{where}holds Python objects, which could run code when they are loaded. {ADVICE}")
        if fortran:
            raise DataFormatError(
                f"{where}is stored column by column (fortran_order), so no row is contiguous. Save it again after "
                "numpy.ascontiguousarray."
            )
        needed = dtype.itemsize
        for length in shape:
            needed *= length
        if first + needed != stop:
            raise DataFormatError(
                f"{where}has {stop - first:,} bytes of values, but shape {list(shape)} of {dtype} needs {needed:,}. "
                f"The file is truncated or damaged. {ADVICE}"
            )
        return np.ndarray(shape, dtype, self.data.data, first)

    def _header(self, start: int, stop: int, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
        """Read the shape, whether the order is column-major, the type, and the offset of the first value."""
        data = self.data[start : min(stop, start + _MOST_HEADER)].tobytes()
        # Version 2.0 has a longer field for the length of the header.
        size = {b"\1\0": 2, b"\2\0": 4}.get(data[6:8])
        if data[:6] != b"\x93NUMPY" or size is None:
            raise DataFormatError(f"{where}is not an array in NumPy's format 1.0 or 2.0. {ADVICE}")
        first = 8 + size + int.from_bytes(data[8 : 8 + size], "little")
        # NumPy evaluates the header as a literal. Here it is only matched, since an untrusted file may contain
        # anything.
        stated = _HEADER.fullmatch(data[8 + size : first]) if first <= len(data) else None
        if stated is None:
            shown = data[8 + size :][:60]
            raise DataFormatError(
                f"{where}is not an array of numbers in NumPy's format: its header is {shown!r}. {ADVICE}"
            )
        try:
            dtype = np.dtype(stated["descr"].decode("ascii"))
        except TypeError as error:
            raise DataFormatError(f"{where}holds values of an unknown type ({error}). {ADVICE}") from error
        shape = tuple(int(length) for length in stated["shape"].replace(b",", b" ").split())
        return shape, stated["fortran"] == b"True", dtype, start + first
