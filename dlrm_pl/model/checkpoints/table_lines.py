"""Tables of a model, as lines of text and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.model.checkpoints.table_statistics import TableStatistics


def table_data(
    architecture: Mapping[str, Any], kinds: Sequence[tuple[str, int]], statistics: Sequence[TableStatistics]
) -> list[dict[str, Any]]:
    """Return rows, dtype, bytes and statistics of each table, as data."""
    return [
        {"rows": rows, "dtype": dtype, "bytes": size, "statistics": asdict(table)}
        for rows, (dtype, size), table in zip(architecture["table_sizes"], kinds, statistics, strict=True)
    ]


def table_lines(
    architecture: Mapping[str, Any],
    kinds: Sequence[tuple[str, int]],
    statistics: Sequence[TableStatistics],
    columns: Columns | None,
) -> list[str]:
    """Return a line for each table, with the name of its column if that is known.

    Norms and peaks are computed from a sample of the table's rows, see ``table_statistics``.
    """
    lines = [
        f"{'table':<6}{'rows':>13}{'dim':>5}  {'dtype':<9}{'bytes':>16}"
        f"{'mean norm':>12}{'max norm':>10}{'median peak':>13}{'max peak':>10}{'' if columns is None else '  column'}"
    ]
    for index, (rows, (dtype, size), table) in enumerate(
        zip(architecture["table_sizes"], kinds, statistics, strict=True)
    ):
        damaged = f"  {table.nonfinite_rows} of {table.rows} sampled rows not finite" if table.nonfinite_rows else ""
        name = "" if columns is None else f"  {columns.sparse[index].name}"
        lines.append(
            f"{index:<6}{rows:>13,}{architecture['embedding_dim']:>5}  {dtype:<9}{size:>16,}"
            f"{table.mean_norm:>12.4g}{table.max_norm:>10.4g}{table.peak:>13.2f}{table.max_peak:>10.2f}{name}{damaged}"
        )
    return lines
