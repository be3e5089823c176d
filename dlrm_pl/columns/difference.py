"""Description of the first difference between two sets of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns


def difference(name: str, columns: Columns, other_name: str, other: Columns) -> str:
    """Describe the first difference between columns, in the order label, dense, sparse; "" if they are equal.

    Args:
        name: owner of ``columns``, such as "the dataset".
        columns: columns to compare.
        other_name: owner of ``other``, such as "the model".
        other: columns to compare with.

    Returns:
        A clause without a full stop.

    Example:
        >>> from dlrm_pl import Columns, DenseColumn, SparseColumn
        >>> from dlrm_pl.columns.difference import difference
        >>> tags = SparseColumn(name="tags", at_most=5)
        >>> one = Columns("click", (DenseColumn(name="age"),), (tags,))
        >>> other = Columns("click", (DenseColumn(name="hour"),), (tags,))
        >>> difference("the file", one, "the model", other)
        'dense column 0 is age in the file, but hour in the model'
    """
    if columns == other:
        return ""
    if columns.label != other.label:
        return f"the label is {columns.label} in {name}, but {other.label} in {other_name}"
    return _of_kind("dense", name, columns.dense, other_name, other.dense) or _of_kind(
        "sparse", name, columns.sparse, other_name, other.sparse
    )


def _of_kind(
    kind: str,
    name: str,
    columns: Sequence[DenseColumn | SparseColumn],
    other_name: str,
    others: Sequence[DenseColumn | SparseColumn],
) -> str:
    for index, (column, other) in enumerate(zip(columns, others, strict=False)):
        if column.name != other.name:
            return f"{kind} column {index} is {column.name} in {name}, but {other.name} in {other_name}"
        for field in fields(column):
            value, wanted = getattr(column, field.name), getattr(other, field.name)
            if value != wanted:
                return (
                    f"column {column.name} has {field.name}={_plain(value)} in {name}, but {_plain(wanted)} in "
                    f"{other_name}"
                )
    if len(columns) != len(others):
        return f"there are {len(columns)} {kind} columns in {name}, but {len(others)} in {other_name}"
    return ""


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
