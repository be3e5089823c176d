"""Digests of a file's blocks, in a file next to it, to check some rows without reading the others.

``terabyte_processed_test.blocks`` holds the concatenated SHA-256 digests of the blocks of
``terabyte_processed_test.bin``, 32 bytes each. The checksum in ``dataset.json`` is the SHA-256 of these digests, see
``block_checksum``.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import columns_or_criteo
from dlrm_pl.data.formats.block_checksum import DIGEST_BYTES, block_bytes, blocks_at_once, checksum_of
from dlrm_pl.errors import DataFormatError
from dlrm_pl.kernels.hashing.sha256 import sha256_blocks

_SAMPLES = 4
"""Number of blocks that are checked when a dataset is opened: 5 MB for Criteo's columns, which takes 5 ms."""


def digests_path(path: Path) -> Path:
    """Return the path of the digests of a file's blocks."""
    return path.with_suffix(".blocks")


class BlockDigests:
    """Digests of a file's blocks; remembers which blocks have been checked.

    Args:
        path: file of records.
        digests: concatenated digests of its blocks.
        columns: columns of the records; None: Criteo's.
    """

    def __init__(self, path: Path, digests: bytes, columns: Columns | None = None) -> None:
        self._path = path
        self._record_bytes = columns_or_criteo(columns).record_bytes
        self._block_bytes = block_bytes(columns_or_criteo(columns))
        self._digests = digests
        self._checked = bytearray(len(digests) // DIGEST_BYTES)

    @classmethod
    def load(cls, path: Path, stated: str | None, columns: Columns | None = None) -> BlockDigests | None:
        """Read the digests of a file, or return None if it has none, as in folders of earlier versions.

        Args:
            path: file of records.
            stated: checksum of the file in ``dataset.json``; None if there is none.
            columns: columns of the records; None: Criteo's.

        Raises:
            DataFormatError: the digests do not match the checksum or the size of the file.
        """
        sibling_path = digests_path(path)
        if stated is None or not sibling_path.is_file():
            return None
        digests = sibling_path.read_bytes()
        size = block_bytes(columns_or_criteo(columns))
        if checksum_of(digests, size) != stated or len(digests) != DIGEST_BYTES * -(-path.stat().st_size // size):
            raise DataFormatError(
                f"{sibling_path}: does not match {path.name} and its checksum in dataset.json. One of the three was "
                "modified or corrupted after it was written. Preprocess the raw log again, or copy the dataset again."
            )
        return cls(path, digests, columns)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._checked)

    def check(self, data: memoryview, start: int, stop: int) -> None:
        """Check the blocks that hold a range of bytes, each block once.

        Args:
            data: the whole mapped file.
            start: first byte.
            stop: byte after the last one.

        Raises:
            DataFormatError: a block was changed; the message names its rows.
        """
        size = self._block_bytes
        first, last = start // size, -(-stop // size)
        while first < last:
            if self._checked[first]:
                first += 1
                continue
            checked = self._checked.find(1, first, last)
            end = last if checked < 0 else checked
            self._check(first, data[first * size : end * size])
            self._checked[first:end] = b"\1" * (end - first)
            first = end

    def check_samples(self) -> int:
        """Check a few evenly spread blocks, including both ends; returns how many.

        Raises:
            DataFormatError: a block was changed; the message names its rows.
        """
        last = len(self) - 1
        blocks = sorted({last * sample // (_SAMPLES - 1) for sample in range(_SAMPLES)})
        with self._path.open("rb") as handle:
            for block in blocks:
                self._check(block, self._read(handle, block, 1))
        return len(blocks)

    def check_all(self) -> None:
        """Check the whole file on all processors.

        Raises:
            DataFormatError: a block was changed; the message names its rows.
        """
        count = blocks_at_once(self._block_bytes)

        def check(first: int) -> None:
            with self._path.open("rb") as handle:
                self._check(first, self._read(handle, first, count))

        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            # A few blocks at a time, so that the check stops soon after a changed block.
            for first in range(0, len(self), threads * count):
                list(pool.map(check, range(first, min(first + threads * count, len(self)), count)))

    def _check(self, first: int, data: memoryview | bytes) -> None:
        """Check the blocks of a run of bytes that begins with block ``first``."""
        size = self._block_bytes
        found = sha256_blocks(data, size)
        if rest := len(data) % size:
            found += hashlib.sha256(data[len(data) - rest :]).digest()
        for number, start in enumerate(range(0, len(data), size), first):
            digest = found[(number - first) * DIGEST_BYTES :][:DIGEST_BYTES]
            if digest != self._digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]:
                row = number * size // self._record_bytes
                rows = min(size, len(data) - start) // self._record_bytes
                raise DataFormatError(
                    f"{self._path}: rows {row:,} to {row + rows - 1:,} do not match their checksum: they were modified "
                    "or corrupted. Preprocess the raw log again, or copy the file again."
                )

    def _read(self, handle: IO[bytes], block: int, count: int) -> bytes:
        handle.seek(block * self._block_bytes)
        return handle.read(count * self._block_bytes)
