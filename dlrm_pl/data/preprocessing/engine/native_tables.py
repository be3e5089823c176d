"""C++ tables of hexadecimal values on NumPy arrays, and the pipeline through which chunks of rows pass."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.preprocessing.engine.library import NO_MEMORY, REFUSED, REPEATED, STOPPED, check
from dlrm_pl.data.preprocessing.threads import StoppedError
from dlrm_pl.errors import DataFormatError
from dlrm_pl.kernels.arrays import address, check_room

Values = npt.NDArray[np.uint32]

_INT32, _UINT32 = np.dtype(np.int32), np.dtype(np.uint32)


class NativeTable:
    """Maps raw values to numbers by first appearance, and counts each value's rows."""

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native
        self._table = native.dlrm_table_new()
        if not self._table:
            raise MemoryError("not enough memory for a vocabulary table")

    def __del__(self) -> None:
        if getattr(self, "_table", None):
            self._native.dlrm_table_free(self._table)

    @property
    def pointer(self) -> int:
        """Address of the table, for the library."""
        return int(self._table)

    def __len__(self) -> int:
        """Return the number of distinct values."""
        return int(self._native.dlrm_table_size(self._table))

    @property
    def nbytes(self) -> int:
        """Memory of the table, in bytes."""
        return int(self._native.dlrm_table_bytes(self._table))

    def read(self, first: int = 0) -> tuple[Values, Values]:
        """Return the values from number ``first`` on, in order, and the counts of all values."""
        size = len(self)
        check_room("values before the first that is read", first, size)
        values, counts = np.empty(size - first, np.uint32), np.empty(size, np.uint32)
        check(
            self._native, self._native.dlrm_table_read(self._table, first, size, values.ctypes.data, counts.ctypes.data)
        )
        return values, counts

    def restore(self, values: Values, counts: Values) -> None:
        """Restore the values and counts that ``read`` returned.

        Raises:
            DataFormatError: a value occurs twice.
            MemoryError: the table cannot grow.
        """
        values, counts = np.ascontiguousarray(values), np.ascontiguousarray(counts)
        status = self._native.dlrm_table_restore(
            self._table,
            address("values", values, _UINT32, None),
            address("counts", counts, _UINT32, len(values)),
            len(values),
        )
        if status == REPEATED:
            raise repeated_value(values)
        check(self._native, status)


class NativeTablePipeline:
    """Tables through which chunks of rows pass in order, with different threads at different tables.

    Args:
        tables: one for each categorical column.
    """

    def __init__(self, native: ctypes.CDLL, tables: Sequence[NativeTable]) -> None:
        self._native = native
        self._tables = tables  # The tables must live as long as the pipeline.
        pointers = (ctypes.c_void_p * len(tables))(*(table.pointer for table in tables))
        self._pipeline = native.dlrm_pipeline_new(pointers, len(tables))
        if not self._pipeline:
            check(native, REFUSED if native.dlrm_preprocess_refusal() else NO_MEMORY)

    def __del__(self) -> None:
        if getattr(self, "_pipeline", None):
            self._native.dlrm_pipeline_free(self._pipeline)

    def number(self, chunk: int, columns: npt.NDArray[np.int32], rows: int, *, learn: bool) -> None:
        """Replace raw values by their numbers; waits for the chunk's turn at each table.

        Args:
            chunk: number of the chunk, from 0; each number must be used exactly once.
            columns: int32 ``[fields, capacity]``; the categories, which are unsigned, are replaced.
            rows: number of rows in the columns.
            learn: whether new values get the next numbers; if not, they become -1.

        Raises:
            StoppedError: ``stop`` was called.
            MemoryError: a table cannot grow.
        """
        count = len(self._tables)
        check_room("tables of a pipeline, in columns", count, len(columns))
        first = address("columns", columns[-count:], _INT32, count, None, written=True)
        status = self._native.dlrm_pipeline_number(self._pipeline, chunk, first, columns.shape[1], rows, learn)
        if status == STOPPED:
            raise StoppedError
        check(self._native, status)

    def stop(self) -> None:
        """Wake all waiting threads, which raise StoppedError."""
        self._native.dlrm_pipeline_stop(self._pipeline)


def repeated_value(values: Values) -> DataFormatError:
    """Return the error for table values that are not all different."""
    distinct, counts = np.unique(values, return_counts=True)
    return DataFormatError(
        f"The value {distinct[counts > 1][0]} occurs twice in a vocabulary table. The dictionary or the unfinished run "
        "that it comes from is corrupt: preprocess the raw log again."
    )
