"""``max_ind_range``: ids of hex columns with a vocabulary, taken modulo a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Records, columns_or_criteo


def is_capped(column: SparseColumn) -> bool:
    """Return whether ``max_ind_range`` applies to a column."""
    return column.kind == "hex" and column.ids == "vocabulary"


def capped_sizes(table_sizes: Sequence[int], max_ind_range: int, columns: Columns | None = None) -> tuple[int, ...]:
    """Return the table sizes if ids of hex columns with a vocabulary are taken modulo ``max_ind_range``."""
    if max_ind_range <= 0:
        return tuple(table_sizes)
    return tuple(
        min(size, max_ind_range) if is_capped(column) else size
        for size, column in zip(table_sizes, columns_or_criteo(columns).sparse, strict=True)
    )


def capped_records(records: Records, columns: Columns, modulus: int) -> Records:
    """Return records with the ids of hex columns with a vocabulary modulo a number; absent elements are unchanged."""
    records = np.array(records)
    for column, fields in zip(columns.sparse, columns.table_fields, strict=True):
        if is_capped(column):
            ids = records[:, fields]
            ids[...] = np.where(ids < 0, ids, ids % modulus)
    return records
