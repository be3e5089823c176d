"""How unevenly the ids of a column are used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.data.formats.binary_format import Records

TOP = (1, 10, 100, 1000)
"""Numbers of most frequent ids whose combined share is counted."""


@dataclass(frozen=True)
class IdSkew:
    """The ids of a column in a sample of rows.

    Attributes:
        name: name of the column.
        ids: number of ids in the sample; for lists, the number of elements.
        distinct: number of distinct ids.
        shares: share of ``ids`` that are among the 1, 10, 100 and 1000 most frequent distinct ids.
        empty: share of rows whose list is empty; None for columns without lists.
        mean_length: mean number of elements; None for columns without lists.
    """

    name: str
    ids: int
    distinct: int
    shares: tuple[float, ...]
    empty: float | None = None
    mean_length: float | None = None


def id_skew(column: SparseColumn, bags: Records) -> IdSkew:
    """Count the ids of a column.

    Args:
        column: the column.
        bags: the column's fields in records, int32 ``[B, width]``; an absent element is -1.
    """
    rows, present = len(bags), bags >= 0
    ids = bags[present]
    # By sorting, since counting by id would need a count for every row of a large table.
    _, counts = np.unique(ids, return_counts=True)
    ends = np.cumsum(np.sort(counts)[::-1])
    shares = tuple(float(ends[min(top, len(ends)) - 1]) / len(ids) if len(ids) else 0.0 for top in TOP)
    lengths = present.sum(axis=1)
    return IdSkew(
        name=column.name,
        ids=len(ids),
        distinct=len(counts),
        shares=shares,
        empty=float((lengths == 0).sum()) / max(1, rows) if column.is_list else None,
        mean_length=float(lengths.sum()) / max(1, rows) if column.is_list else None,
    )
