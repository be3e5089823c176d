"""Read the files that the first stage of a run writes: buckets and plain records."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import RECORD_ITEM_BYTES
from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.data.preprocessing.engine.native import keyed_dtype
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.complete_io import Readable, read_into

_BLOCK_BYTES = 640 << 10
_MADV_POPULATE_READ = 22  # Its value on Linux, which has it since 5.14.


def map_keyed(path: Path, rows: int, record_ints: int) -> npt.NDArray[np.void]:
    """Map the keyed records of a bucket, most of which are in the system's page cache.

    Args:
        path: file of the bucket.
        rows: number of records in the file.
        record_ints: number of integers in a record.

    Raises:
        DataFormatError: the file is too short.
        OSError: the file cannot be read.
    """
    dtype = keyed_dtype(record_ints)
    size = rows * dtype.itemsize
    with path.open("rb", buffering=0) as handle:
        if os.fstat(handle.fileno()).st_size < size:
            raise _cut_short(path)
        if not rows:
            return np.empty(0, dtype)
        memory = mmap.mmap(handle.fileno(), size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        try:
            # Read all pages now, so that a failing disk raises an error here.
            memory.madvise(_MADV_POPULATE_READ)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            memory.close()  # On older Linux kernels, a disk error in mapped memory kills the process.
            keyed = np.empty(rows, dtype)
            _read_array(path, handle, keyed)
            return keyed
    return np.frombuffer(memory, dtype)


def _read_array(path: Path, handle: Readable, array: npt.NDArray[np.generic]) -> None:
    """Fill an array from an open file.

    Raises:
        DataFormatError: the file ends before the array is full.
    """
    view = array.view(np.uint8).data
    if read_into(handle, view) < view.nbytes:
        raise _cut_short(path)


def read_blocks(path: Path, record_ints: int, start: int = 0, stop: int | None = None) -> Iterator[Records]:
    """Yield the records of a byte range of a file in writable blocks.

    Args:
        path: file of records.
        record_ints: number of integers in a record.
        start: first byte.
        stop: byte after the last one; None for the end of the file.

    Raises:
        DataFormatError: the range does not hold a whole number of records, or the file is too short.
    """
    size = (path.stat().st_size if stop is None else stop) - start
    record_bytes = record_ints * RECORD_ITEM_BYTES
    if size % record_bytes:
        raise DataFormatError(f"{path}: {size} bytes is not a whole number of records. Run the command again.")
    left = size // record_bytes
    most = max(1, _BLOCK_BYTES // record_bytes)
    with path.open("rb", buffering=0) as handle:
        handle.seek(start)
        while left:
            block = np.empty((min(most, left), record_ints), np.int32)
            _read_array(path, handle, block)
            left -= len(block)
            yield block


def _cut_short(path: Path) -> DataFormatError:
    return DataFormatError(f"{path}: is truncated. Run the command again to start over.")
