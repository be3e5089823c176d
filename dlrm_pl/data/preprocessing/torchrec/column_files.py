"""Growing files of a run: labels, dense values, and a file for each categorical column."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.formats.dataset_description import REJECTED
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.native import Matrix
from dlrm_pl.files.complete_io import sync_handle, write_all, write_at

LABELS = "labels.i4"
DENSE = "dense.i4"


def raw_name(table: int) -> str:
    """Return the name of the file with a column's raw values, which are unsigned, and 0 if missing."""
    return f"raw_{table}.u4"


class ColumnFiles:
    """Rows of all days, one after the other; several threads may write at once.

    Args:
        columns: columns of the log.
        state: state of the run; the file sizes in it are updated.
        folder: folder of the unfinished run.
    """

    def __init__(self, columns: Columns, state: State, folder: Path) -> None:
        self._columns = columns
        self._state = state
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}

    def open(self, stack: ExitStack) -> None:
        """Open all files, unbuffered, so that all bytes are in them when a write returns; the stack closes them."""
        for name in (LABELS, DENSE, *map(raw_name, range(self._columns.num_sparse)), REJECTED):
            path = self._folder / name
            path.touch()
            mode = "ab" if name == REJECTED else "r+b"  # The other files are written at offsets.
            self._files[name] = stack.enter_context(path.open(mode, buffering=0))

    def write_columns(self, matrix: Matrix, rows: int, first: int) -> None:
        """Write rows to their places.

        Args:
            matrix: ``[record_ints, capacity]``; each row of the log is a column.
            rows: number of rows.
            first: number of rows, over all days, before these.
        """
        dense = np.ascontiguousarray(matrix[self._columns.dense_fields, :rows].T)
        self._write(LABELS, matrix[LABEL, :rows], first * 4)
        self._write(DENSE, dense, first * 4 * self._columns.num_dense)
        for table, column in enumerate(matrix[self._columns.sparse_fields, :rows]):
            self._write(raw_name(table), column, first * 4)

    def reject(self, row: bytes) -> None:
        """Append an unusable row to the file of rejected rows."""
        write_all(self._files[REJECTED].fileno(), row)

    def rejected(self) -> Path:
        """Return the file of rejected rows."""
        return self._folder / REJECTED

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        for file in self._files.values():
            sync_handle(file)

    def note_sizes(self) -> None:
        """Record the sizes of the files in the state."""
        self._state.file_bytes = {name: os.fstat(file.fileno()).st_size for name, file in self._files.items()}

    def _write(self, name: str, values: Matrix, offset: int) -> None:
        write_at(self._files[name].fileno(), values.reshape(-1).view(np.uint8).data, offset)
