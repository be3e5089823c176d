"""Most frequent value of each column, not counting missing values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.data.preprocessing.statistics.dense_bins import is_counted
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.tables.summary import TableSummary

_SHARES = 10
_AFTER = re.compile(r"(?P<value>[0-9a-f]{8}) \((?P<after>after modulo [\d,]+)\)")
Common = tuple[float, str, str]  # Share, column and value.


def largest_shares(
    statistics: LogStatistics, tables: Sequence[TableSummary], *, missing_known: bool = True, modulus: int = 0
) -> list[dict[str, Any]]:
    """Return the most frequent value of the ten columns in which one value is most frequent.

    Shares are relative to all rows, or to all elements of a table. Missing elements are included in these totals, but
    do not count as a value.

    Args:
        statistics: counts of all days.
        tables: summary of each table; empty if the vocabulary comes from another dataset.
        missing_known: whether missing values can be distinguished from zeros. If not, the value 0 of a dense column
            is called ``0 or missing``.
        modulus: modulus applied to the values of ``hex`` columns before they were counted; 0 for none.
    """
    entries = [*_of_dense(statistics, missing_known=missing_known), *_of_tables(statistics, tables, modulus)]
    entries.sort(key=lambda entry: -entry[0])
    return [
        {"column": name, "value": value, "share": round(float(share), 6)} for share, name, value in entries[:_SHARES]
    ]


def _of_dense(statistics: LogStatistics, *, missing_known: bool) -> Iterator[Common]:
    rows = sum(day.rows for day in statistics.days)
    for dense, column in enumerate(statistics.columns.dense):
        if not is_counted(column):
            continue
        counts = statistics.histogram[dense, :-1].copy()
        # The histogram counts missing values as 0, as they are stored.
        counts[0] = max(0, counts[0] - sum(int(day.missing[1 + dense]) for day in statistics.days))
        value = int(counts.argmax())
        if counts[value]:
            yield counts[value] / max(1, rows), column.name, str(value) if value or missing_known else "0 or missing"


def _of_tables(statistics: LogStatistics, tables: Sequence[TableSummary], modulus: int) -> Iterator[Common]:
    for number, (column, table) in enumerate(zip(statistics.columns.sparse, tables, strict=False)):
        text, count = table.commonest, table.commonest_rows
        zeros = _zeros(statistics, number, table)
        if zeros > count:
            text, count = f"{0:08x}", zeros
        if count:
            after = f" (after modulo {modulus:,})" if modulus and column.kind == "hex" else ""
            yield count / table.rows, column.name, f"{text}{after}"


def common_values_line(shares: Sequence[Mapping[str, Any]]) -> str:
    """Return the values of ``largest_shares`` with their shares on one line, which states their modulus once."""
    found = [_AFTER.fullmatch(entry["value"]) for entry in shares]
    values = [entry["value"] if match is None else match["value"] for entry, match in zip(shares, found, strict=True)]
    line = ", ".join(
        f"{entry['column']}={value} {entry['share']:.1%}" for entry, value in zip(shares, values, strict=True)
    )
    stated = next((match["after"] for match in found if match is not None), "")
    return f"{line}; hexadecimal values are shown {stated}" if stated else line


def _zeros(statistics: LogStatistics, number: int, table: TableSummary) -> int:
    """Return how many values of a ``hex`` column are 0 without being missing; 0 if the counts cannot tell.

    The table counts the rows that were kept, either of all days or of the training days; missing values are counted in
    all rows that were read. The difference is known only if both counts cover the same rows.
    """
    column: SparseColumn = statistics.columns.sparse[number]
    if column.kind != "hex" or column.is_list or any(day.kept < day.rows for day in statistics.days):
        return 0
    field = 1 + statistics.columns.num_dense + number
    for days in (statistics.days, statistics.days[:-1]):
        if table.rows == sum(day.rows for day in days):
            return table.missing_rows - sum(int(day.missing[field]) for day in days)
    return 0
