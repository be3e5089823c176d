"""Checksum of a file in blocks, which several threads can compute; plain SHA-256 is one chain of steps.

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
    """Digests of a run of bytes, which any thread can compute before those of the bytes in front of it are known.

    Attributes:
        head: bytes at the beginning that belong to an earlier block.
        digests: digests of the whole blocks, one after the other.
        tail: bytes at the end that belong to a later block.
    """

    head: memoryview
    digests: bytes
    tail: memoryview


def part_at(offset: int, data: memoryview) -> Part:
    """Return the digests of bytes at an offset of a file."""
    first = min(-offset % BLOCK_BYTES, len(data))
    last = first + (len(data) - first) // BLOCK_BYTES * BLOCK_BYTES
    blocks = range(first, last, BLOCK_BYTES)
    digests = b"".join(hashlib.sha256(data[start : start + BLOCK_BYTES]).digest() for start in blocks)
    return Part(data[:first], digests, data[last:])


class BlockChecksum:
    """Combines the parts of a file, in their order, to its checksum."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._block = hashlib.sha256()
        self._size = 0

    def add(self, part: Part) -> None:
        """Add the part that follows, made for its offset in the file."""
        self._add_bytes(part.head)
        self._digests += part.digests
        self._size += len(part.digests) // DIGEST_BYTES * BLOCK_BYTES
        self._add_bytes(part.tail)

    def update(self, data: memoryview) -> None:
        """Add bytes that follow."""
        self.add(part_at(self._size, data))

    def digests(self) -> bytes:
        """Return the digests of all blocks so far, one after the other; the last block may be shorter."""
        return bytes(self._digests) + (self._block.digest() if self._size % BLOCK_BYTES else b"")

    def text(self) -> str:
        """Return the checksum of all bytes so far, with its name."""
        return checksum_of(self.digests())

    def _add_bytes(self, data: memoryview) -> None:
        self._block.update(data)
        self._size += len(data)
        if len(data) and not self._size % BLOCK_BYTES:
            self._digests += self._block.digest()
            self._block = hashlib.sha256()


def checksum_of(digests: bytes) -> str:
    """Return the checksum of a file whose blocks have these digests, with its name."""
    return _NAME + hashlib.sha256(digests).hexdigest()


def is_of_blocks(checksum: str) -> bool:
    """Return whether a checksum is of this kind; earlier versions wrote the SHA-256 of the whole file."""
    return checksum.startswith(_NAME)


def file_checksum(path: Path, start: int = 0, stop: int | None = None) -> BlockChecksum:
    """Compute the checksum of a file, or of a part as if it were a file, with all processors."""
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
    """Return whether a file has the checksum that is stated for it, of blocks or of the whole file."""
    if stated.startswith(_PLAIN):
        with path.open("rb") as handle:
            return _PLAIN + hashlib.file_digest(handle, "sha256").hexdigest() == stated
    return file_checksum(path).text() == stated
