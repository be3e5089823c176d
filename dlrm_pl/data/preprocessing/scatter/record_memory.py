"""Memory for the rows of a chunk and their records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.preprocessing.engine.native import Matrix, keyed_dtype


class RecordMemory:
    """Memory for the rows of a chunk and their records, reused by later chunks.

    Attributes:
        matrix: int32 ``[record_ints, capacity]``; each row of the log is a column.
        keyed: ``[capacity]``, the records with their keys.

    Args:
        record_ints: number of int32 values in a record.
        rows: maximum number of rows in a chunk.
    """

    def __init__(self, record_ints: int, rows: int) -> None:
        # Columns are an odd number of cache lines apart, so that they do not compete for the same part of the cache.
        capacity = 16 * ((rows // 16 + 1) | 1)
        self.matrix: Matrix = np.empty((record_ints, capacity), np.int32)
        self.keyed: npt.NDArray[np.void] = np.empty(capacity, keyed_dtype(record_ints))
