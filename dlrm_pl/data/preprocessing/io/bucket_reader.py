"""Readers of the files that the first stage of a run writes: buckets and plain records."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import RECORD_BYTES, RECORD_INTS, Records
from dlrm_pl.data.preprocessing.engine.native import KEYED_DTYPE
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.complete_io import Readable, read_into

_BLOCK_RECORDS = 1 << 12
_MADV_POPULATE_READ = 22  # Linux's value, from 5.14 on.


def map_keyed(path: Path, rows: int) -> npt.NDArray[np.void]:
    """Map the records of a bucket, of KEYED_DTYPE; most of them are in the system's cache.

    Args:
        path: file of the bucket.
        rows: number of its records.

    Raises:
        DataFormatError: the file is too short.
        OSError: the file cannot be read.
    """
    size = rows * KEYED_DTYPE.itemsize
    with path.open("rb", buffering=0) as handle:
        if os.fstat(handle.fileno()).st_size < size:
            raise _cut_short(path)
        if not rows:
            return np.empty(0, KEYED_DTYPE)
        memory = mmap.mmap(handle.fileno(), size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        try:
            # Read all pages now, so that a failing disk raises an error here.
            memory.madvise(_MADV_POPULATE_READ)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            memory.close()  # On an older Linux, a failing disk under a map kills the process.
            keyed = np.empty(rows, KEYED_DTYPE)
            _read_array(path, handle, keyed)
            return keyed
    return np.frombuffer(memory, KEYED_DTYPE)


def _read_array(path: Path, handle: Readable, array: npt.NDArray[np.generic]) -> None:
    """Fill an array from an open file.

    Raises:
        DataFormatError: the file ends before the array is full.
    """
    view = array.view(np.uint8).data
    if read_into(handle, view) < view.nbytes:
        raise _cut_short(path)


def read_blocks(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Records]:
    """Yield the records of a byte range of a file in writable blocks.

    Args:
        path: file of records.
        start: first byte.
        stop: byte after the last; None for the end of the file.

    Raises:
        DataFormatError: the range is not a whole number of records, or the file is too short.
    """
    size = (path.stat().st_size if stop is None else stop) - start
    if size % RECORD_BYTES:
        raise DataFormatError(f"{path}: {size} bytes are not a whole number of records. Run the command again.")
    left = size // RECORD_BYTES
    with path.open("rb", buffering=0) as handle:
        handle.seek(start)
        while left:
            block = np.empty((min(_BLOCK_RECORDS, left), RECORD_INTS), np.int32)
            _read_array(path, handle, block)
            left -= len(block)
            yield block


def _cut_short(path: Path) -> DataFormatError:
    return DataFormatError(f"{path}: is truncated. Run the command again to start over.")
