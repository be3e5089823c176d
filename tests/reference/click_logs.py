"""Vocabularies and records of whole logs with any columns, computed from rows of plain values.

Columns are given as plain values (``label``, ``dense``, ``sparse`` with all their fields), without ranges of names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.reference.records import MISSING, UNSEEN, dense_bits, id_of, record

Row = Mapping[str, Any]


def elements_of(column: Mapping[str, Any], row: Row) -> list[Any]:
    """Return a bag's elements as numbers or bytes; an absent list is empty or, if of fixed length, all missing."""
    value = row.get(column["name"])
    if column["at_most"] is None and column["bag"] == 1:
        values = [value]
    elif value is None:
        values = [None] * (0 if column["at_most"] is not None else column["bag"])
    else:
        values = list(value)
    if column["kind"] == "hex":
        return [None if each is None else int(each, 16) for each in values]
    return [each.encode() if isinstance(each, str) else each for each in values]


def dictionaries(
    columns: Mapping[str, Any], rows: Sequence[Row], unseen: bool = False, least: int = 1
) -> list[list[Any] | None]:
    """Return each table's values by first appearance in rows that give ids; None if ids need no vocabulary."""
    found: list[list[Any] | None] = []
    for column in columns["sparse"]:
        if column["ids"] != "vocabulary":
            found.append(None)
            continue
        missing = MISSING[column["kind"]]
        counts = Counter(missing if each is None else each for row in rows for each in elements_of(column, row))
        kept = [value for value, count in counts.items() if count >= least]
        found.append([UNSEEN[column["kind"]], *kept] if unseen else kept)
    return found


def records_of(
    columns: Mapping[str, Any], values: Sequence[list[Any] | None], rows: Sequence[Row], modulus: int = 0
) -> list[list[int]]:
    """Return the records of rows for an existing vocabulary."""
    widths = [column["at_most"] or column["bag"] for column in columns["sparse"]]
    return [
        record(
            int(row[columns["label"]]),
            [dense_bits(column, row.get(column["name"])) for column in columns["dense"]],
            [
                [id_of(column, each, dictionary, modulus)[0] for each in elements_of(column, row)]
                for column, dictionary in zip(columns["sparse"], values, strict=True)
            ],
            widths,
        )
        for row in rows
    ]
