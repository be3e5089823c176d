"""Changes to records after all rows have been read: ids of rare values, and means in place of missing values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.data.preprocessing.engine.native import Numbers
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine


class LastChanges:
    """Changes records in place.

    Args:
        columns: columns with all numbers of their transforms.
        mappings: for each table, the new id of each id, if rare values share an id; None for a table that keeps its
            ids.
        engine: native code or its NumPy fallback.
        first_field: number of values before each record, such as those of its key.
    """

    def __init__(
        self, columns: Columns, mappings: Sequence[Numbers | None] | None, engine: Engine, first_field: int = 0
    ) -> None:
        self._engine = engine
        self._means = [
            (field, np.float32(column.mean))
            for field, column in enumerate(columns.dense, start=first_field + 1)
            if column.transform == "standardize"
        ]
        self._mapped = [
            (column.at_most is not None, first_field + field, mapping)
            for column, fields, mapping in zip(
                columns.sparse, columns.table_fields, mappings or [None] * columns.num_sparse, strict=True
            )
            if mapping is not None
            for field in range(fields.start, fields.stop)
        ]

    def apply(self, records: Records) -> None:
        """Change records ``[rows, first_field + record_ints]``.

        Raises:
            DataFormatError: an id is outside its table, so the files of the run are damaged.
        """
        for may_be_absent, field, mapping in self._mapped:
            if may_be_absent:
                present = np.flatnonzero(records[:, field] >= 0)
                ids = np.ascontiguousarray(records[present, field, None])
                self._engine.remap(ids, 0, mapping)
                records[present, field] = ids[:, 0]
            else:
                self._engine.remap(records, field, mapping)
        for field, mean in self._means:
            values = records[:, field].view(np.float32)
            values[np.isnan(values)] = mean
