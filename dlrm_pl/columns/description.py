"""Description of columns in a few lines: similar columns share a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns

_MOST_NAMES = 10
_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]{0,8})")


def column_lines(columns: Columns) -> list[tuple[str, str]]:
    """Describe columns in lines of two texts: label, dense or sparse; and the names with a description.

    Example:
        >>> from dlrm_pl import Columns
        >>> from dlrm_pl.columns.description import column_lines
        >>> column_lines(Columns.criteo())[1:]
        [('dense', 'I1 to I13: integer, log1p'), ('sparse', 'C1 to C26: hex, vocabulary')]
    """
    lines = [(group.kind, f"{_listed(group)}: {group.words}") for group in column_groups(columns)]
    return [("label", columns.label), *lines]


class ColumnGroup(NamedTuple):
    """Columns that differ only in their names.

    Attributes:
        kind: ``dense`` or ``sparse``.
        names: names of the first columns, or of runs of columns, such as ``C1 to C26``.
        more: number of further names or runs, which ``names`` leaves out.
        words: description of the columns.
    """

    kind: Literal["dense", "sparse"]
    names: tuple[str, ...]
    more: int
    words: str


def column_groups(columns: Columns) -> list[ColumnGroup]:
    """Return the columns in groups that differ only in their names, dense ones first."""
    dense = _grouped("dense", ((column, describe_dense(column)) for column in columns.dense))
    return dense + _grouped("sparse", ((column, describe_sparse(column)) for column in columns.sparse))


def describe_dense(column: DenseColumn) -> str:
    """Describe a dense column without its name."""
    numbers = f" (mean {column.mean:.6g}, deviation {column.deviation:.6g})" if column.mean is not None else ""
    return f"{column.type}, {column.transform}{numbers}"


def describe_sparse(column: SparseColumn) -> str:
    """Describe a sparse column without its name."""
    ids = column.ids if column.rows is None else f"{column.ids} into {column.rows:,} ids"
    if not column.is_list:
        return f"{column.kind}, {ids}"
    length = f"lists of {column.bag}" if column.at_most is None else f"lists of at most {column.at_most}"
    return f"{column.kind}, {ids}, {length}, pooled by {column.pooling}"


def _grouped(
    kind: Literal["dense", "sparse"], columns: Iterable[tuple[DenseColumn | SparseColumn, str]]
) -> list[ColumnGroup]:
    names: dict[str, list[str]] = {}
    for column, words in columns:
        names.setdefault(words, []).append(column.name)
    groups = []
    for words, members in names.items():
        runs = _in_runs(members)
        groups.append(ColumnGroup(kind, tuple(runs[:_MOST_NAMES]), len(runs[_MOST_NAMES:]), words))
    return groups


def _in_runs(names: Sequence[str]) -> list[str]:
    """Return the names, with three or more that are numbered consecutively merged into one: ``C1 to C26``."""
    runs: list[list[str]] = []
    last: tuple[str, int] | None = None
    for name in names:
        match = _NUMBERED.fullmatch(name)
        place = (match[1], int(match[2])) if match else None
        if place and last and place == (last[0], last[1] + 1):
            runs[-1].append(name)
        else:
            runs.append([name])
        last = place
    return [text for run in runs for text in (run if len(run) < 3 else [f"{run[0]} to {run[-1]}"])]


def _listed(group: ColumnGroup) -> str:
    return ", ".join(group.names) + (f" and {group.more:,} more" if group.more else "")
