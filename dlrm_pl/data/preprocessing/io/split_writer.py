"""The file of a split while it grows: written, counted, and its checksum computed."""

from __future__ import annotations

import os
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from dlrm_pl.data.formats.binary_format import LABEL, RECORD_BYTES, Records
from dlrm_pl.data.formats.block_checksum import BlockChecksum, Part
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.preprocessing.io.bucket_reader import read_blocks
from dlrm_pl.data.preprocessing.io.direct import USUAL_WRITE_BYTES, DirectFile
from dlrm_pl.files.complete_io import sync_handle


@dataclass
class Written:
    """Records on their way to the disk.

    Attributes:
        size_bytes: of all.
        positives: clicks among them.
        parts: checksums, in the order of the records.
        writes: that are under way.
    """

    size_bytes: int
    positives: int = 0
    parts: list[Part] = field(default_factory=list)
    writes: list[Future[None]] = field(default_factory=list)

    def wait(self) -> None:
        """Until they are in the file.

        Raises:
            OSError: the disk is full, or failed.
        """
        for write in self.writes:
            write.result()


class SplitWriter:
    """Appends records to the file of a split, counts its clicks and computes its checksum.

    Args:
        path: the file.
        good_bytes: of what stands there already; the rest is cut off.
    """

    def __init__(self, path: Path, good_bytes: int = 0) -> None:
        self.path = path
        self._positives, self._checksum, self._bytes = 0, BlockChecksum(), good_bytes
        self._handle = path.open("r+b" if good_bytes else "wb")
        self._handle.truncate(good_bytes)
        for records in read_blocks(path, 0, good_bytes):
            self._count(records)
        self._handle.seek(good_bytes)
        self._direct: DirectFile | None = None

    def append(self, records: Records) -> None:
        """Write records ``[rows, 40]`` and count them."""
        view = records.reshape(-1).view(np.uint8).data
        for start in range(0, len(view), USUAL_WRITE_BYTES):
            self._handle.write(view[start : start + USUAL_WRITE_BYTES])
        self._handle.flush()
        # "Not needed" also means "write it to the disk now", while the next records are computed: else all waits for
        # the end. What is not on the disk yet stays in memory.
        os.posix_fadvise(self._handle.fileno(), self._bytes, len(view), os.POSIX_FADV_DONTNEED)
        self._bytes += len(view)
        self._count(records)

    def reserve(self, size_bytes: int) -> DirectFile:
        """Take room for the whole file, to be written in any order; ``wrote`` says how far all of it is.

        Raises:
            OSError: the disk has no room.
        """
        self._direct = DirectFile(self.path, self._bytes, size_bytes)
        return self._direct

    def wrote(self, records: Written) -> None:
        """Take note of records that were written: those that follow the ones so far."""
        self._bytes += records.size_bytes
        self._positives += records.positives
        for part in records.parts:
            self._checksum.add(part)

    def _count(self, records: Records) -> None:
        """Count the clicks, and let the checksum go on."""
        self._positives += int(np.count_nonzero(records[:, LABEL]))
        self._checksum.update(records.reshape(-1).view(np.uint8).data)

    def sync(self) -> int:
        """Force all to disk; returns the bytes."""
        sync_handle(self._handle)
        return self._bytes

    def close(self) -> SplitInfo:
        """Force all to disk, with the digests of its blocks beside it; returns what was written."""
        self.sync()
        self._handle.close()
        digests_path(self.path).write_bytes(self._checksum.digests())
        return SplitInfo(self._bytes // RECORD_BYTES, self._positives, self._checksum.text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file, after an error too."""
        self._handle.close()
        if self._direct is not None:
            self._direct.close()
