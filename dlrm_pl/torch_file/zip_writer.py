"""Write a zip archive of uncompressed entries in one pass, with data at multiples of 64 bytes.

Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

ALIGNMENT = 64
# More than the headers of an entry take: 30 and 46 bytes, the name twice, padding, and 64-bit sizes twice.
OVERHEAD_BYTES = 512

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
CRC_IN_HEADER = 14
"""Offset of the checksum in the header of an entry,"""
CRC_IN_DIRECTORY = 16
"""and in its record of the central directory."""
_PADDING = 0x4246  # The kind of extra field that torch pads with; readers skip it.
_SMALL = 20  # Version of the zip format that an entry needs,
_WIDE = 45  # and the version for sizes of 64 bits.
_LIMIT = 0xFFFFFFFF
_UTF8 = 1 << 11
_ONE_THREAD_BYTES = 256 << 10  # Up to this size, a checksum takes less time than a thread.
_DAY = 0x21  # 1980-01-01, so that the same contents give the same bytes.


@dataclass
class ZipEntry:
    """An entry: its name, the position of its header, and the size and checksum of its contents."""

    name: bytes
    header: int
    size: int
    crc32: int = 0

    def header_bytes(self) -> bytes:
        """Make the header before the contents, without the checksum, which is not known yet."""
        wide = struct.pack("<2H2Q", 1, 16, self.size, self.size) if self.size >= _LIMIT else b""
        padding = -(self.header + _LOCAL.size + len(self.name) + len(wide) + 4) % ALIGNMENT
        extra = wide + struct.pack("<2H", _PADDING, padding) + bytes(padding)
        size32 = min(self.size, _LIMIT)
        version = _WIDE if wide else _SMALL
        header = _LOCAL.pack(b"PK\3\4", version, _UTF8, 0, 0, _DAY, 0, size32, size32, len(self.name), len(extra))
        return header + self.name + extra

    def directory_record(self) -> bytes:
        """Make the central directory record; sizes and offsets that need 64 bits go into an extra field."""
        wide = [self.size] * 2 * (self.size >= _LIMIT) + [self.header] * (self.header >= _LIMIT)
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = _WIDE if wide else _SMALL
        size32 = min(self.size, _LIMIT)
        header32 = min(self.header, _LIMIT)
        fixed = _CENTRAL.pack(
            b"PK\1\2", version, version, _UTF8, 0, 0, _DAY,
            self.crc32, size32, size32, len(self.name), len(extra),
            0, 0, 0, 0, header32,
        )  # fmt: skip
        return fixed + self.name + extra


def end_of_directory(count: int, start: int, size: int) -> bytes:
    """Make the end of an archive whose central directory has ``count`` records and begins at ``start``."""
    wide = b""
    if start + size >= _LIMIT or count >= 0xFFFF:
        wide = _END64.pack(b"PK\6\6", _END64.size - 12, _WIDE, _WIDE, 0, 0, count, count, size, start)
        wide += _END64_LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
    count16 = min(count, 0xFFFF)
    return wide + _END.pack(b"PK\5\6", 0, 0, count16, count16, min(size, _LIMIT), min(start, _LIMIT), 0)


class ZipWriter:
    """Writes entries one after the other; ``finish`` writes the central directory.

    Args:
        handle: an empty file, open for binary writing.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._entries: list[ZipEntry] = []
        self._position = 0

    def add(self, name: str, content: bytes) -> None:
        """Add a small entry."""
        self.add_blocks(name, len(content), [memoryview(content)])

    def add_blocks(self, name: str, size: int, blocks: Iterable[memoryview]) -> int:
        """Add an entry from blocks, each of which is written before the next is requested.

        Args:
            name: name of the entry.
            size: total number of bytes in the blocks.
            blocks: bytes to write; their checksum is computed at the same time.

        Returns:
            The checksum (CRC-32) of all blocks.
        """
        entry = ZipEntry(name.encode(), self._position, size)
        self._write(entry.header_bytes())
        written = 0
        if size <= _ONE_THREAD_BYTES:
            for block in blocks:
                entry.crc32 = zlib.crc32(block, entry.crc32)
                self._write(block)
                written += block.nbytes
        else:
            with ThreadPoolExecutor(1) as pool:  # zlib and write() both release the interpreter lock.
                for block in blocks:
                    checksum: Future[int] = pool.submit(zlib.crc32, block, entry.crc32)
                    self._write(block)
                    entry.crc32 = checksum.result()
                    written += block.nbytes
        assert written == size, f"{name}: {written} bytes instead of {size}"
        self._entries.append(entry)
        return entry.crc32

    def finish(self) -> None:
        """Write the central directory after the last entry, and the checksums into the headers."""
        start = self._position
        for entry in self._entries:
            self._write(entry.directory_record())
        self._write(end_of_directory(len(self._entries), start, self._position - start))
        for entry in self._entries:
            self._handle.seek(entry.header + CRC_IN_HEADER)
            self._handle.write(struct.pack("<I", entry.crc32))

    def _write(self, content: bytes | memoryview) -> None:
        self._handle.write(content)
        self._position += len(content) if isinstance(content, bytes) else content.nbytes
