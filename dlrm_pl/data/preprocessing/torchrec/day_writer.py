"""NumPy files of a day, written block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.complete_io import write_at

Array = npt.NDArray[Any]

_MOST = np.iinfo(np.int32).max


class NpyFile:
    """An .npy file whose rows are written in any order.

    Args:
        path: file to make.
        rows: number of rows.
        width: number of values in a row.
        dtype: type of the values.
    """

    def __init__(self, path: Path, rows: int, width: int, dtype: npt.DTypeLike) -> None:
        self._row_bytes = width * np.dtype(dtype).itemsize
        self._dtype = np.dtype(dtype)
        self._handle = path.open("w+b", buffering=0)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(self._handle, header)
        self._first = self._handle.tell()

    def write(self, first: int, values: Array) -> None:
        """Write rows from number ``first`` on."""
        data = np.ascontiguousarray(values, self._dtype).reshape(-1).view(np.uint8).data
        write_at(self._handle.fileno(), data, self._first + first * self._row_bytes)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


class DayWriter:
    """The files of one day.

    Args:
        folder: folder of the days.
        day: number of the day.
        rows: number of rows.
        num_dense: number of dense values in a row.
        num_sparse: number of ids in a row.
        id_type: int64, or int32 for shuffled days.
    """

    def __init__(
        self, folder: Path, day: int, rows: int, *, num_dense: int, num_sparse: int, id_type: npt.DTypeLike
    ) -> None:
        self._dense = NpyFile(folder / f"day_{day}_dense.npy", rows, num_dense, np.float32)
        self._labels = NpyFile(folder / f"day_{day}_labels.npy", rows, 1, np.int32)
        self._ids = NpyFile(folder / f"day_{day}_sparse.npy", rows, num_sparse, id_type)

    def write(self, first: int, dense: Array, labels: Array, ids: Array) -> None:
        """Write rows from number ``first`` on: their inputs, labels and ids."""
        self._dense.write(first, dense)
        self._labels.write(first, labels.reshape(-1, 1))
        self._ids.write(first, ids)

    def __enter__(self) -> Self:
        """Return the writer, whose files are closed at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        for file in (self._dense, self._labels, self._ids):
            file.close()


def logarithms(dense: Array, least: int) -> Array:
    """Return TorchRec's inputs of dense values: ``log(x - least + 2)`` in float32.

    Args:
        dense: int32 ``[B, N]``.
        least: smallest value of the day over all columns.
    """
    return np.log(dense - np.int32(least - 2), dtype=np.float32)


def check_range(least: int, most: int, log: str) -> None:
    """Check that the logarithms of a day exist.

    Raises:
        DataFormatError: the values of the day are so far apart that their differences do not fit in 32 bits.
    """
    if most - least + 2 > _MOST:
        raise DataFormatError(
            f"{log}: its dense values go from {least:,} to {most:,}. TorchRec takes the logarithm of each value's "
            "distance from the smallest, plus 2, which must fit in 32 bits. Correct the log."
        )
