"""Writer of a split's file, which also counts its clicks and computes its checksum."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records
from dlrm_pl.data.formats.block_checksum import BlockChecksum, Part, block_bytes
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.preprocessing.io.bucket_reader import read_blocks
from dlrm_pl.data.preprocessing.io.direct import BUFFERED_WRITE_BYTES, DirectFile
from dlrm_pl.files.complete_io import sync_handle


@dataclass
class Written:
    """Records that are being written to the disk.

    Attributes:
        size_bytes: total size of the records.
        positives: number of clicks.
        parts: checksums, in the order of the records.
        writes: pending writes.
    """

    size_bytes: int
    positives: int = 0
    parts: list[Part] = field(default_factory=list)
    writes: list[Future[None]] = field(default_factory=list)

    def kept(self) -> Written:
        """Return a copy with its own bytes, since the memory that the records were collected in is reused."""
        return dataclasses.replace(self, parts=[part.copied() for part in self.parts])

    def wait(self) -> None:
        """Wait until the records are in the file.

        Raises:
            OSError: the disk is full or failed.
        """
        for write in self.writes:
            write.result()


class SplitWriter:
    """Appends records to the file of a split, counts its clicks and computes its checksum.

    Args:
        path: file of the split.
        columns: columns of the records.
        good_bytes: size of the valid contents so far; the rest is truncated.
    """

    def __init__(self, path: Path, columns: Columns, good_bytes: int = 0) -> None:
        self.path = path
        self._record_bytes = columns.record_bytes
        self._positives = 0
        self._checksum = BlockChecksum(block_bytes(columns))
        self._bytes = good_bytes
        self._handle = path.open("r+b" if good_bytes else "wb")
        self._handle.truncate(good_bytes)
        for records in read_blocks(path, columns.record_ints, 0, good_bytes):
            self._count(records)
        self._handle.seek(good_bytes)
        self._direct: DirectFile | None = None

    def append(self, records: Records) -> None:
        """Write records ``[rows, record_ints]`` and count them."""
        view = records.reshape(-1).view(np.uint8).data
        for start in range(0, len(view), BUFFERED_WRITE_BYTES):
            self._handle.write(view[start : start + BUFFERED_WRITE_BYTES])
        self._handle.flush()
        # DONTNEED also starts writing to the disk now, while the next records are computed, instead of at the end.
        # Pages that are not yet on the disk stay in memory.
        os.posix_fadvise(self._handle.fileno(), self._bytes, len(view), os.POSIX_FADV_DONTNEED)
        self._bytes += len(view)
        self._count(records)

    def reserve(self, size_bytes: int) -> DirectFile:
        """Reserve disk space for the whole file, to write it in any order and report progress with ``wrote``.

        Raises:
            OSError: the disk is full.
        """
        self._direct = DirectFile(self.path, self._bytes, size_bytes)
        return self._direct

    def wrote(self, records: Written) -> None:
        """Register the next written records."""
        self._bytes += records.size_bytes
        self._positives += records.positives
        for part in records.parts:
            self._checksum.add(part)

    def _count(self, records: Records) -> None:
        """Count the clicks and update the checksum."""
        self._positives += int(np.count_nonzero(records[:, LABEL]))
        self._checksum.update(records.reshape(-1).view(np.uint8).data)

    def sync(self) -> int:
        """Flush the file to disk and return its size in bytes."""
        sync_handle(self._handle)
        return self._bytes

    def close(self) -> SplitInfo:
        """Flush the file to disk, write the digests of its blocks next to it, and return its description."""
        self.sync()
        self._handle.close()
        digests_path(self.path).write_bytes(self._checksum.digests())
        return SplitInfo(self._bytes // self._record_bytes, self._positives, self._checksum.text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file, after an error too."""
        self._handle.close()
        if self._direct is not None:
            self._direct.close()
