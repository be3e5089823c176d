"""Binary layout of a split: little-endian int32, as many per record as its columns need. Needs only NumPy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import DataFormatError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

RECORD_DTYPE = np.dtype("<i4")
LABEL = 0

Records = npt.NDArray[np.int32]

# Number of rows whose labels are read together: with 3 % clicks, one block has both labels.
_LABEL_BLOCK = 65_536


def columns_or_criteo(columns: Columns | None) -> Columns:
    """Return the given columns, or Criteo's for None."""
    return Columns.criteo() if columns is None else columns


def split_file_name(split: Split) -> str:
    """Return the file name of a split, as upstream's tools expect it."""
    return f"terabyte_processed_{split}.bin"


def count_records(path: Path, columns: Columns | None = None) -> int:
    """Return the number of records in a file, computed from its size.

    Args:
        path: file of a split.
        columns: columns of its records; None: Criteo's.

    Raises:
        DataFormatError: the file is missing, empty, or does not hold a whole number of records.
    """
    record_bytes = columns_or_criteo(columns).record_bytes
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: is missing. Preprocess the raw log, or name another dataset folder.") from error
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror}).") from error
    records, extra_bytes = divmod(size_bytes, record_bytes)
    if extra_bytes:
        raise DataFormatError(
            f"{path}: {size_bytes} bytes is not a whole number of {record_bytes}-byte records ({records} records and "
            f"{extra_bytes} bytes). The file is truncated or has another layout; preprocess the raw log again."
        )
    if not records:
        raise DataFormatError(f"{path}: is empty. A split needs at least one record; preprocess the raw log again.")
    return records


def single_label(path: Path, start: int, stop: int, columns: Columns | None = None) -> int | None:
    """Return the label that all rows of a range have; None if there are both labels, or no rows.

    Reads until both labels have been seen; in most files, the first block has both.
    """
    label = None
    for first in range(start, stop, _LABEL_BLOCK):
        labels = open_records(path, columns)[first : min(first + _LABEL_BLOCK, stop), LABEL]
        low, high = int(labels.min()), int(labels.max())
        if low != high or label not in (None, low):
            return None
        label = low
    return label


def open_records(path: Path, columns: Columns | None = None, descriptor: int | None = None) -> Records:
    """Map a file into memory, read-only, as int32 ``[records, record_ints]``; nothing is read yet.

    Args:
        path: file to map.
        columns: columns of its records; None: Criteo's.
        descriptor: descriptor of the file, if it is already open.

    Raises:
        DataFormatError: see ``count_records``.
    """
    shape = (count_records(path, columns), columns_or_criteo(columns).record_ints)
    if descriptor is None:
        return np.memmap(path, dtype=RECORD_DTYPE, mode="r", shape=shape)
    with os.fdopen(os.dup(descriptor), "rb") as handle:
        return np.memmap(handle, dtype=RECORD_DTYPE, mode="r", shape=shape)
