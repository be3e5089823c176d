"""The arrays of a day, mapped and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlrm_pl.data.formats.torchrec.day_files import DayFiles
from dlrm_pl.data.formats.torchrec.mapped_file import ADVICE, Array, MappedFile
from dlrm_pl.data.formats.torchrec.npz_members import member_arrays
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.watched import FileState, WatchedFile

_INT32, _INT64, _FLOAT32 = np.dtype("<i4"), np.dtype("<i8"), np.dtype("<f4")


@dataclass(frozen=True)
class Day:
    """Rows of a day.

    Attributes:
        files: its files.
        dense: float32 ``[n, N]``.
        labels: int32 ``[n, 1]``.
        ids: for each table ``[n, width]``, int32 or int64; columns of a single array if there are no bags.
        mapped: the open files.
    """

    files: DayFiles
    dense: Array
    labels: Array
    ids: tuple[Array, ...]
    mapped: tuple[MappedFile, ...]

    @classmethod
    def open(cls, files: DayFiles, states: Mapping[Path, FileState] | None = None) -> Day:
        """Map the files of a day.

        Args:
            files: its files.
            states: states that the files must have; None: their current states.

        Raises:
            DataFormatError: a file is missing, damaged or changed, has the wrong type or shape, or another number of
                rows than the others; the message names it.
        """
        states = states or {}
        dense, labels, ids = (MappedFile(path, states.get(path)) for path in (files.dense, files.labels, files.ids))
        dense_values = _checked(dense.array(), (_FLOAT32,), str(files.dense))
        rows = len(dense_values)
        if not rows or not dense_values.shape[1]:
            raise DataFormatError(f"{files.dense}: has no values: its shape is {list(dense_values.shape)}. {ADVICE}")
        label_values = _checked(labels.array(), (_INT32,), str(files.labels), rows, files.dense)
        if label_values.shape[1] != 1:
            raise DataFormatError(f"{files.labels}: has {label_values.shape[1]} labels in each row, not 1. {ADVICE}")
        tables: tuple[Array, ...]
        if files.has_bags:
            tables = tuple(
                _checked(bags, (_INT32,), f"{files.ids}: {table}.npy", rows, files.dense)
                for table, bags in enumerate(member_arrays(ids))
            )
        else:
            # TorchRec's scripts write int32 for the days that they shuffle, and leave the last day as int64.
            values = _checked(ids.array(), (_INT32, _INT64), str(files.ids), rows, files.dense)
            tables = tuple(values[:, table : table + 1] for table in range(values.shape[1]))
        for table, bags in enumerate(tables):
            if not bags.shape[1]:
                raise DataFormatError(f"{files.ids}: {table}.npy: its bags have no elements. {ADVICE}")
        if not tables:
            raise DataFormatError(f"{files.ids}: has no tables. {ADVICE}")
        return cls(files, dense_values, label_values, tables, (dense, labels, ids))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.dense)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of ids per row, for each table."""
        return tuple(ids.shape[1] for ids in self.ids)

    @property
    def watched(self) -> Sequence[WatchedFile]:
        """Open files, which must not change."""
        return [mapped.file for mapped in self.mapped]

    def will_need(self, first: int, last: int) -> None:
        """Let the kernel read rows into memory in the background."""
        dense, labels, ids = self.mapped
        dense.will_need(self.dense, first, last)
        labels.will_need(self.labels, first, last)
        for array in self.ids if self.files.has_bags else self.ids[:1]:  # Without bags, all tables share one array.
            ids.will_need(array, first, last)


def _checked(
    array: Array,
    dtypes: tuple[np.dtype[np.generic], ...],
    where: str,
    rows: int | None = None,
    other: Path | None = None,
) -> Array:
    """Check the type and shape of an array, and its rows by those of another file."""
    if array.dtype not in dtypes:
        names = " or ".join(str(dtype) for dtype in dtypes)
        raise DataFormatError(f"{where}: holds {array.dtype}, not {names}. {ADVICE}")
    if array.ndim != 2:
        raise DataFormatError(f"{where}: has the shape {list(array.shape)}, not rows and columns. {ADVICE}")
    if rows is not None and len(array) != rows:
        assert other is not None
        raise DataFormatError(
            f"{where}: has {len(array):,} rows, but {other.name} has {rows:,}. The files are of different days or "
            "runs: copy those of one run."
        )
    return array
