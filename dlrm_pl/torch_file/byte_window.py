"""Read part of a file in order, never beyond its end."""

from __future__ import annotations

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.complete_io import read_at

_READ_AHEAD = 1 << 16
_LONGEST_LINE = 1 << 16


class ByteWindow:
    """The bytes ``[start, end)`` of a file, with the two methods that ``pickletools`` needs.

    Args:
        descriptor: descriptor of the open file.
        start: offset of the first byte.
        end: offset after the last byte; the file must be at least this long.
        limit: largest number of bytes to read in total; protects memory from a file that claims more.
        what: name of the part, for error messages.
    """

    def __init__(self, descriptor: int, start: int, end: int, *, limit: int, what: str) -> None:
        self._descriptor = descriptor
        self._end = end
        self._stop = min(end, start + limit)
        self._limit = limit
        self._what = what
        self._buffer = b""
        self._buffer_start = start
        self.position = start

    def read(self, size: int) -> bytes:
        """Read the next ``size`` bytes.

        Raises:
            CheckpointError: fewer bytes are left, or the limit is reached.
        """
        if size < 0 or self.position + size > self._stop:
            raise self._too_short(size)
        begin = self.position - self._buffer_start
        if begin + size > len(self._buffer):
            self._buffer = self._fetch(max(size, min(_READ_AHEAD, self._stop - self.position)))
            self._buffer_start, begin = self.position, 0
        self.position += size
        return self._buffer[begin : begin + size]

    def readline(self) -> bytes:
        """Read up to and including the next newline.

        Raises:
            CheckpointError: the line is too long.
        """
        line = bytearray()
        while not line.endswith(b"\n"):
            if len(line) == _LONGEST_LINE:
                raise CheckpointError(f"{self._what} has a line of more than {_LONGEST_LINE:,} bytes")
            line += self.read(1)
        return bytes(line)

    def _fetch(self, size: int) -> bytes:
        """Read from the file."""
        content = bytearray(size)
        count = read_at(self._descriptor, memoryview(content), self.position)
        if count < size:
            raise CheckpointError(f"cut short inside {self._what}, at byte {self.position + count:,} of the file")
        return bytes(content)

    def _too_short(self, size: int) -> CheckpointError:
        if size >= 0 and self.position + size <= self._end:
            return CheckpointError(f"{self._what} is larger than {self._limit:,} bytes, more than a checkpoint needs")
        return CheckpointError(
            f"cut short inside {self._what}: {size:,} bytes are expected from byte {self.position:,} on, but the end "
            f"is at {self._end:,}"
        )
