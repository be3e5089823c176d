"""Part of an open file that is read as if it were a file of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dlrm_pl.torch_file.open_file import OpenFile


@dataclass(frozen=True)
class FileRange:
    """Bytes ``[start, start + size)`` of a file, which must be at least that long.

    Attributes:
        file: the open file.
        start: offset of the first byte in the file.
        size: number of bytes.
    """

    file: OpenFile
    start: int
    size: int

    @classmethod
    def whole(cls, file: OpenFile) -> FileRange:
        """Return all bytes of a file."""
        return cls(file, 0, file.size)

    def read(self, size: int, position: int) -> bytes:
        """Read up to ``size`` bytes from ``position`` in the range; fewer at the end of the range or the file."""
        size = min(size, self.size - position)
        return os.pread(self.file.descriptor, size, self.start + position) if size > 0 else b""
