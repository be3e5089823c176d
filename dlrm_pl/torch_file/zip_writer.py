"""A zip archive of uncompressed entries, written in one pass, with data at multiples of 64 bytes.

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
# More than the headers of one entry take: 30 and 46 bytes, the name twice, padding, sizes of 64 bits twice.
OVERHEAD_BYTES = 512

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_CRC_POSITION = 14  # In a local header.
_PADDING = 0x4246  # The kind of extra field that torch pads with; readers skip it.
_SMALL, _WIDE = 20, 45  # Versions of the format that are needed, 45 for sizes of 64 bits.
_LIMIT = 0xFFFFFFFF
_UTF8 = 1 << 11
_DAY = 0x21  # 1980-01-01, so that the same contents are the same bytes.


@dataclass
class _Entry:
    name: bytes
    header: int
    size: int
    crc32: int = 0


class ZipWriter:
    """Entries, one after the other; ``finish`` writes the directory.

    Args:
        handle: an empty file, open for binary writing.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._entries: list[_Entry] = []
        self._position = 0

    def add(self, name: str, content: bytes) -> None:
        """Add a small entry."""
        self.add_blocks(name, len(content), [memoryview(content)])

    def add_blocks(self, name: str, size: int, blocks: Iterable[memoryview]) -> int:
        """Add an entry from blocks, each of which is used before the next is asked for.

        Args:
            name: of the entry.
            size: bytes of all blocks.
            blocks: bytes; their checksum is made while they are written.

        Returns:
            The checksum (CRC-32).
        """
        entry = _Entry(name.encode(), self._position, size)
        wide = struct.pack("<2H2Q", 1, 16, size, size) if size >= _LIMIT else b""
        padding = -(self._position + _LOCAL.size + len(entry.name) + len(wide) + 4) % ALIGNMENT
        extra = wide + struct.pack("<2H", _PADDING, padding) + bytes(padding)
        shown = min(size, _LIMIT)
        version = _WIDE if wide else _SMALL
        names = (len(entry.name), len(extra))
        header = _LOCAL.pack(b"PK\3\4", version, _UTF8, 0, 0, _DAY, 0, shown, shown, *names)
        self._write(header + entry.name + extra)
        written = 0
        with ThreadPoolExecutor(1) as pool:  # zlib and write() both let other threads run.
            for block in blocks:
                checksum: Future[int] = pool.submit(zlib.crc32, block, entry.crc32)
                self._write(block)
                entry.crc32 = checksum.result()
                written += block.nbytes
        assert written == size, f"{name}: {written} bytes instead of {size}"
        self._entries.append(entry)
        return entry.crc32

    def finish(self) -> None:
        """Write the checksums into the headers, and the directory behind the last entry."""
        start = self._position
        for entry in self._entries:
            self._write(_central(entry))
        size, count = self._position - start, len(self._entries)
        if start + size >= _LIMIT or count >= 0xFFFF:
            end = self._position
            self._write(_END64.pack(b"PK\6\6", _END64.size - 12, _WIDE, _WIDE, 0, 0, count, count, size, start))
            self._write(_END64_LOCATOR.pack(b"PK\6\7", 0, end, 1))
        shown = min(count, 0xFFFF)
        self._write(_END.pack(b"PK\5\6", 0, 0, shown, shown, min(size, _LIMIT), min(start, _LIMIT), 0))
        for entry in self._entries:
            self._handle.seek(entry.header + _CRC_POSITION)
            self._handle.write(struct.pack("<I", entry.crc32))

    def _write(self, content: bytes | memoryview) -> None:
        self._handle.write(content)
        self._position += len(content) if isinstance(content, bytes) else content.nbytes


def _central(entry: _Entry) -> bytes:
    """An entry of the directory; sizes and offset that are too large for it stand in an extra field."""
    wide = [entry.size] * 2 * (entry.size >= _LIMIT) + [entry.header] * (entry.header >= _LIMIT)
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = _WIDE if wide else _SMALL
    sizes = (entry.crc32, min(entry.size, _LIMIT), min(entry.size, _LIMIT), len(entry.name), len(extra))
    place = (0, 0, 0, 0, min(entry.header, _LIMIT))
    return _CENTRAL.pack(b"PK\1\2", version, version, _UTF8, 0, 0, _DAY, *sizes, *place) + entry.name + extra
