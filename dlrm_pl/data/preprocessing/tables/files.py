"""Files of an unfinished run's vocabulary: values, which are only appended, and all counts, which are rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Counts
from dlrm_pl.data.preprocessing.tables.stage import ValueTable
from dlrm_pl.errors import DataFormatError

VALUES_PATTERN = "values_*"
"""Names of the files of values."""

_COUNT_BYTES = 4
_END_BYTES = 8


def save_tables(tables: Sequence[ValueTable | None], folder: Path, sizes: list[int], counts_name: str) -> list[int]:
    """Append new values to the files of values and write all counts; returns the tables' sizes.

    Args:
        tables: tables of the vocabulary; None for a column without one.
        folder: folder of the unfinished run.
        sizes: number of values of each table that are already in the files.
        counts_name: name of the counts file.
    """
    with (folder / counts_name).open("wb") as counts_file:
        for number, table in enumerate(tables):
            if table is None:
                continue
            values, counts = table.read(sizes[number])
            if isinstance(values, Strings):
                _append_texts(folder, number, sizes[number], values)
            else:
                _append(_values_path(folder, number, values.dtype), sizes[number] * values.itemsize, values)
            counts_file.write(counts.data)
    return [0 if table is None else len(table) for table in tables]


def load_tables(tables: Sequence[ValueTable | None], folder: Path, sizes: list[int], counts_name: str) -> None:
    """Fill tables from what ``save_tables`` wrote.

    Raises:
        DataFormatError: a file is too short, or has a value with a count of 0.
    """
    for number, table in enumerate(tables):
        if table is not None:
            kind = table.read()[0]
            table.restore(
                *saved_table(folder, number, kind if isinstance(kind, Strings) else kind.dtype, sizes, counts_name)
            )


def saved_table(
    folder: Path, number: int, kind: Strings | np.dtype[Any], sizes: list[int], counts_name: str
) -> tuple[Any, Counts]:
    """Return the values and counts of a table that ``save_tables`` wrote.

    Args:
        folder: folder of the unfinished run.
        number: number of the table.
        kind: type of the values; for strings, any ``Strings``.
        sizes: number of values of each table; 0 for a column without a table.
        counts_name: name of the counts file.

    Raises:
        DataFormatError: a file is too short, or has a value with a count of 0.
    """
    size = sizes[number]
    values: Any = (
        _texts(folder, number, size)
        if isinstance(kind, Strings)
        else _read(_values_path(folder, number, kind), kind, size)
    )
    counts = np.fromfile(folder / counts_name, np.uint32, size, offset=_COUNT_BYTES * sum(sizes[:number]))
    # Not all tables check this, and a value without rows would be missing from its dictionary.
    if len(counts) < size:
        raise DataFormatError(f"{counts_name} is truncated")
    if not counts.all():
        raise DataFormatError(f"according to {counts_name}, no row has a value of table {number}")
    return values, counts


def _append_texts(folder: Path, number: int, size: int, texts: Strings) -> None:
    """Append texts after ``size`` others: their bytes, and where each ends."""
    ends, data = folder / f"values_{number}.ends", folder / f"values_{number}.text"
    last = 0
    if size:
        with ends.open("rb") as handle:
            handle.seek((size - 1) * _END_BYTES)
            last = int(np.frombuffer(handle.read(_END_BYTES), np.int64)[0])
    _append(data, last, texts.data[texts.offsets[0] : texts.offsets[-1]])
    _append(ends, size * _END_BYTES, texts.offsets[1:] - texts.offsets[0] + last)


def _texts(folder: Path, number: int, size: int) -> Strings:
    offsets = np.zeros(size + 1, np.int64)
    offsets[1:] = _read(folder / f"values_{number}.ends", np.dtype(np.int64), size)
    return Strings(offsets, _read(folder / f"values_{number}.text", np.dtype(np.uint8), int(offsets[-1])))


def _read(path: Path, dtype: np.dtype[Any], size: int) -> npt.NDArray[Any]:
    """Read an array from the beginning of a file."""
    array = np.fromfile(path, dtype, size)
    if len(array) < size:
        raise DataFormatError(f"{path.name} is truncated")
    return array


def _values_path(folder: Path, number: int, dtype: np.dtype[Any]) -> Path:
    return folder / f"values_{number}.{dtype.kind}{dtype.itemsize}"


def _append(path: Path, good_bytes: int, array: npt.NDArray[Any]) -> None:
    """Write an array after the bytes of a file that are valid."""
    handle: IO[bytes]
    with path.open("r+b" if good_bytes else "wb") as handle:
        handle.truncate(good_bytes)
        handle.seek(good_bytes)
        handle.write(np.ascontiguousarray(array).data)
