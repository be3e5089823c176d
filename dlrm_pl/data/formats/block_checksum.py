"""Checksum of a file in blocks, which as many threads can compute as there are: plain SHA-256 is one chain of steps.

It is the SHA-256 of the SHA-256 digests of all blocks of 1,310,720 bytes (8,192 records), the last of which may be
shorter.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.data.formats.binary_format import RECORD_BYTES

BLOCK_BYTES = 8192 * RECORD_BYTES
DIGEST_BYTES = hashlib.sha256().digest_size
_NAME = f"sha256/{BLOCK_BYTES}:"
_PLAIN = "sha256:"
_READ_BLOCKS = 8


@dataclass(frozen=True)
class Part:
    """What is known of a run of bytes before those in front of it are: made by any thread.

    Attributes:
        head: bytes that end a block which began earlier.
        digests: of the whole blocks in it, one after the other.
        tail: bytes of a block that ends later.
    """

    head: memoryview
    digests: bytes
    tail: memoryview


def part_at(offset: int, data: memoryview) -> Part:
    """Compute what can be of bytes at a place in the file."""
    first = min(-offset % BLOCK_BYTES, len(data))
    last = first + (len(data) - first) // BLOCK_BYTES * BLOCK_BYTES
    blocks = range(first, last, BLOCK_BYTES)
    digests = b"".join(hashlib.sha256(data[start : start + BLOCK_BYTES]).digest() for start in blocks)
    return Part(data[:first], digests, data[last:])


class BlockChecksum:
    """Puts the parts of a file together, in their order."""

    def __init__(self) -> None:
        self._digests, self._block = bytearray(), hashlib.sha256()
        self._size = 0

    def add(self, part: Part) -> None:
        """Add the bytes that follow; the part is of the place that they have in the file."""
        self._add_bytes(part.head)
        self._digests += part.digests
        self._size += len(part.digests) // DIGEST_BYTES * BLOCK_BYTES
        self._add_bytes(part.tail)

    def update(self, data: memoryview) -> None:
        """Add the bytes that follow."""
        self.add(part_at(self._size, data))

    def digests(self) -> bytes:
        """Of the blocks of all bytes so far, one after the other; the last may be shorter."""
        return bytes(self._digests) + (self._block.digest() if self._size % BLOCK_BYTES else b"")

    def text(self) -> str:
        """Of all bytes so far, with its name."""
        return checksum_of(self.digests())

    def _add_bytes(self, data: memoryview) -> None:
        self._block.update(data)
        self._size += len(data)
        if len(data) and not self._size % BLOCK_BYTES:
            self._digests += self._block.digest()
            self._block = hashlib.sha256()


def checksum_of(digests: bytes) -> str:
    """Of a file whose blocks have these digests, with its name."""
    return _NAME + hashlib.sha256(digests).hexdigest()


def is_of_blocks(checksum: str) -> bool:
    """Whether a checksum is of this kind, and not of a file as a whole, as earlier versions wrote it."""
    return checksum.startswith(_NAME)


def file_checksum(path: Path, start: int = 0, stop: int | None = None) -> BlockChecksum:
    """Of a file, or of its bytes from ``start`` to before ``stop`` as if they were a file, by all processors."""
    checksum = BlockChecksum()
    stop = path.stat().st_size if stop is None else stop
    step = _READ_BLOCKS * BLOCK_BYTES

    def read(offset: int) -> Part:
        with path.open("rb") as handle:
            handle.seek(offset)
            return part_at(offset - start, memoryview(handle.read(min(step, stop - offset))))

    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        # Some at a time, or all of the file would be in memory.
        for first in range(start, stop, threads * step):
            for part in pool.map(read, range(first, min(first + threads * step, stop), step)):
                checksum.add(part)
    return checksum


def matches(path: Path, stated: str) -> bool:
    """Whether a file has the checksum that is stated of it, in blocks or as a whole."""
    if stated.startswith(_PLAIN):
        with path.open("rb") as handle:
            return _PLAIN + hashlib.file_digest(handle, "sha256").hexdigest() == stated
    return file_checksum(path).text() == stated
