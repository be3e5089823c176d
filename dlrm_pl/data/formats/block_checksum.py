"""Checksum of a file in blocks, which several threads can compute; plain SHA-256 is one chain of steps.

It is the SHA-256 of the SHA-256 digests of all blocks of 8,192 records, or fewer if a record has more than
1 KiB; the last block may be shorter.
"""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.columns.columns import Columns
from dlrm_pl.kernels.hashing.sha256 import sha256_blocks

_BLOCK_RECORDS = 8192
_MOST_BLOCK_BYTES = 8 << 20
DIGEST_BYTES = hashlib.sha256().digest_size
_PLAIN = "sha256:"
_READ_BYTES = 10 << 20  # Per thread: eight of Criteo's blocks.


def block_bytes(columns: Columns) -> int:
    """Return the number of bytes in a block, which holds whole records."""
    records = _BLOCK_RECORDS
    while records > 1 and records * columns.record_bytes > _MOST_BLOCK_BYTES:
        records //= 2
    return records * columns.record_bytes


def blocks_at_once(size: int) -> int:
    """Return how many blocks of ``size`` bytes a thread reads together."""
    return max(1, _READ_BYTES // size)


@dataclass(frozen=True)
class Part:
    """Digests of a run of bytes, which any thread can compute before the digests of the preceding bytes are known.

    Attributes:
        head: bytes at the beginning that belong to a block that began earlier.
        digests: digests of the whole blocks, one after the other.
        tail: bytes at the end that belong to a block that ends later.
    """

    head: memoryview
    digests: bytes
    tail: memoryview

    def copied(self) -> Part:
        """Return a copy with its own bytes, independent of the memory that they were in."""
        return Part(memoryview(bytes(self.head)), self.digests, memoryview(bytes(self.tail)))


def part_at(offset: int, data: memoryview, size: int) -> Part:
    """Return the digests of bytes at an offset of a file with blocks of ``size`` bytes."""
    first = min(-offset % size, len(data))
    last = first + (len(data) - first) // size * size
    return Part(data[:first], sha256_blocks(data[first:last], size), data[last:])


class BlockChecksum:
    """Combines the parts of a file, in order, to its checksum.

    Args:
        size: bytes of a block, see ``block_bytes``.
    """

    def __init__(self, size: int) -> None:
        self._block_bytes = size
        self._digests = bytearray()
        self._block = hashlib.sha256()
        self._size = 0

    def add(self, part: Part) -> None:
        """Add the next part, which was made for its offset in the file."""
        self._add_bytes(part.head)
        self._digests += part.digests
        self._size += len(part.digests) // DIGEST_BYTES * self._block_bytes
        self._add_bytes(part.tail)

    def update(self, data: memoryview) -> None:
        """Add the next bytes."""
        self.add(part_at(self._size, data, self._block_bytes))

    def digests(self) -> bytes:
        """Return the concatenated digests of all blocks so far; the last block may be shorter."""
        return bytes(self._digests) + (self._block.digest() if self._size % self._block_bytes else b"")

    def text(self) -> str:
        """Return the checksum of all bytes so far, with its name."""
        return checksum_of(self.digests(), self._block_bytes)

    def _add_bytes(self, data: memoryview) -> None:
        self._block.update(data)
        self._size += len(data)
        if len(data) and not self._size % self._block_bytes:
            self._digests += self._block.digest()
            self._block = hashlib.sha256()


def checksum_of(digests: bytes, size: int) -> str:
    """Return the checksum of a file whose blocks of ``size`` bytes have these digests, with its name."""
    return f"sha256/{size}:" + hashlib.sha256(digests).hexdigest()


def is_of_blocks(checksum: str) -> bool:
    """Return whether a checksum is of this kind; earlier versions wrote the SHA-256 of the whole file."""
    return re.match(r"sha256/[0-9]+:", checksum) is not None


def file_checksum(path: Path, size: int, start: int = 0, stop: int | None = None) -> BlockChecksum:
    """Compute the checksum of a file, or of a part of it as if it were a file, on all processors.

    Args:
        path: file to read.
        size: bytes of a block, see ``block_bytes``.
        start: first byte.
        stop: byte after the last one; None for the end of the file.
    """
    checksum = BlockChecksum(size)
    stop = path.stat().st_size if stop is None else stop
    step = blocks_at_once(size) * size

    def read(offset: int) -> Part:
        with path.open("rb") as handle:
            handle.seek(offset)
            return part_at(offset - start, memoryview(handle.read(min(step, stop - offset))), size)

    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        # A few steps at a time, since otherwise the whole file could end up in memory.
        for first in range(start, stop, threads * step):
            for part in pool.map(read, range(first, min(first + threads * step, stop), step)):
                checksum.add(part)
    return checksum


def matches(path: Path, stated: str, size: int) -> bool:
    """Return whether a file matches a stated checksum, whether that is of blocks or of the whole file."""
    if stated.startswith(_PLAIN):
        with path.open("rb") as handle:
            return _PLAIN + hashlib.file_digest(handle, "sha256").hexdigest() == stated
    return file_checksum(path, size).text() == stated
