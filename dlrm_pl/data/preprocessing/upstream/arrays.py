"""Arrays of one of upstream's .npz files, checked and as records, in bounded memory.

Upstream writes them with ``np.savez_compressed``, some as float64 and some in Fortran order, so no row can be read
before the whole array is unpacked. Each file is therefore unpacked into a folder, and removed after use.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, Records
from dlrm_pl.errors import DataFormatError

_COLUMNS = Columns.criteo()  # In all files that upstream's tools write.
_WIDTHS = {"X_cat": _COLUMNS.num_sparse, "X_int": _COLUMNS.num_dense, "y": 1}
_INT_MAX = np.iinfo(np.int32).max
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class _Layout:
    """Contents of an array's header.

    Attributes:
        shape: shape of the array.
        fortran: whether values are stored column by column.
        dtype: type of a value.
        offset: size of the header in bytes.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int


class UpstreamArrays:
    """``X_cat [rows, T]``, ``X_int [rows, N]`` and ``y [rows]`` of one file.

    Args:
        path: .npz file.

    Raises:
        DataFormatError: the file has other contents; the message names the array.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reading(path), zipfile.ZipFile(path) as archive:
            self._members = {name: _layout(archive, name, path) for name in _WIDTHS}
            self.unpacked_bytes = sum(archive.getinfo(f"{name}.npy").file_size for name in _WIDTHS)
        self.rows = self._members["y"].shape[0]
        for name, width in _WIDTHS.items():
            layout = self._members[name]
            wanted = (self.rows,) if width == 1 else (self.rows, width)
            if layout.shape != wanted or layout.dtype.kind not in "iuf":
                raise DataFormatError(
                    f"{path}: {name} is {layout.dtype} {list(layout.shape)}; expected numbers {list(wanted)}."
                )

    @contextmanager
    def unpacked(self, folder: Path) -> Iterator[None]:
        """Unpack the arrays into a folder, so that ``records`` can read them until the block ends.

        Raises:
            DataFormatError: the file is corrupt.
        """
        self._folder = folder
        try:
            with _reading(self.path), zipfile.ZipFile(self.path) as archive:
                for name in _WIDTHS:
                    with archive.open(f"{name}.npy") as packed, self._file(name).open("wb") as out:
                        shutil.copyfileobj(packed, out, _COPY_BYTES)
            yield
        finally:
            for name in _WIDTHS:
                self._file(name).unlink(missing_ok=True)

    def records(self, first: int, stop: int, table_sizes: tuple[int, ...]) -> Records:
        """Return the rows from ``first`` to ``stop``, int32 ``[rows, 1 + N + T]``.

        Raises:
            DataFormatError: a value is one that upstream's preprocessing never writes; the message names the row and
                column.
        """
        records = np.empty((stop - first, _COLUMNS.record_ints), np.int32)
        limits: dict[str, npt.NDArray[np.int64] | int] = {"y": 1, "X_int": _INT_MAX, "X_cat": np.array(table_sizes) - 1}
        places = {"y": slice(LABEL, LABEL + 1), "X_int": _COLUMNS.dense_fields, "X_cat": _COLUMNS.sparse_fields}
        for name, place in places.items():
            values = self._read(name, first, stop)
            limit = limits[name]
            with np.errstate(invalid="ignore"):  # Values that cannot be cast are found below.
                records[:, place] = values
                wrong = (records[:, place] != values) | (values < 0) | (values > limit)
            if wrong.any():
                row, column = (int(index) for index in np.argwhere(wrong)[0])
                most = int(np.broadcast_to(limit, values.shape[1:])[column])
                raise DataFormatError(
                    f"{self.path}: {name}[{first + row}, {column}] is {values[row, column]}, expected whole numbers "
                    f"from 0 to {most}. The file and its counts come from different runs, or it is corrupt."
                )
        return records

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def _read(self, name: str, first: int, stop: int) -> npt.NDArray[Any]:
        layout, width, file = self._members[name], _WIDTHS[name], self._file(name)
        item = layout.dtype.itemsize
        if not layout.fortran or width == 1:
            values = np.fromfile(
                file, layout.dtype, (stop - first) * width, offset=layout.offset + first * width * item
            )
            return values.reshape(-1, width)
        columns = np.empty((width, stop - first), layout.dtype)
        for column in range(width):
            start = layout.offset + (column * self.rows + first) * item
            columns[column] = np.fromfile(file, layout.dtype, stop - first, offset=start)
        return columns.T


def _layout(archive: zipfile.ZipFile, name: str, path: Path) -> _Layout:
    if f"{name}.npy" not in archive.namelist():
        raise DataFormatError(f"{path}: has no array {name}. Is it one of upstream's _reordered or _processed files?")
    with archive.open(f"{name}.npy") as handle:
        return _header(handle)


def _header(handle: IO[bytes]) -> _Layout:
    version = np.lib.format.read_magic(handle)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(handle)
    return _Layout(shape, fortran, dtype, handle.tell())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataFormatError(f"{path}: is missing.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise DataFormatError(f"{path}: is corrupt or not an .npz file ({error}). Copy it again.") from error
