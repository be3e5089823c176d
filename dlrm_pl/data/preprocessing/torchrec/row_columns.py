"""Rows of a run as days: the values that were read, and the ids assigned to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.torchrec.column_files import DENSE, LABELS
from dlrm_pl.data.preprocessing.torchrec.day_writer import check_range, logarithms

Array = npt.NDArray[Any]

_TOGETHER = 1 << 16


def ids_name(table: int) -> str:
    """Return the name of the file with a column's ids."""
    return f"ids_{table}.i4"


@dataclass(frozen=True)
class Block:
    """Some rows of a day.

    Attributes:
        first: number of the first row within its day.
        dense: the model's inputs, float32 ``[B, N]``.
        labels: int32 ``[B]``.
        ids: int32 ``[B, T]``.
    """

    first: int
    dense: Array
    labels: Array
    ids: Array


class RowColumns:
    """Reads rows of days from the files of their columns.

    Args:
        folder: folder of the unfinished run.
        columns: columns of the log.
        rows: number of rows of each day.
        names: name of each day for messages.
    """

    def __init__(self, folder: Path, columns: Columns, rows: tuple[int, ...], names: tuple[str, ...]) -> None:
        self._folder = folder
        self._columns = columns
        self._rows = rows
        self._names = names

    def blocks(self, day: int) -> Iterator[Block]:
        """Yield the rows of a day.

        Raises:
            DataFormatError: the day's dense values are too far apart for TorchRec's logarithm.
        """
        before, rows = sum(self._rows[:day]), self._rows[day]
        least = most = None
        for dense in self._dense(before, rows):
            low, high = int(dense.min()), int(dense.max())
            least, most = low if least is None else min(least, low), high if most is None else max(most, high)
        assert least is not None
        assert most is not None
        check_range(least, most, self._names[day])
        tables = range(self._columns.num_sparse)
        for place, dense in enumerate(self._dense(before, rows)):
            first = place * _TOGETHER
            ids = np.empty((len(dense), len(tables)), np.int32)
            for table in tables:
                ids[:, table] = self._read(ids_name(table), before + first, len(dense))
            yield Block(first, logarithms(dense, least), self._read(LABELS, before + first, len(dense)), ids)

    def _dense(self, before: int, rows: int) -> Iterator[Array]:
        width = self._columns.num_dense
        for first in range(0, rows, _TOGETHER):
            count = min(_TOGETHER, rows - first)
            yield self._read(DENSE, (before + first) * width, count * width).reshape(count, width)

    def _read(self, name: str, first: int, count: int) -> Array:
        return np.fromfile(self._folder / name, np.int32, count, offset=4 * first)
