"""Statistics of a vocabulary's tables for the data report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import Kind
from dlrm_pl.data.formats.category_values import MISSING
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import MISSING_STRING, Counts

_SHOWN = 30  # Maximum number of characters of a string.


@dataclass(frozen=True)
class TableSummary:
    """Statistics of a table; all 0 if it has no vocabulary.

    Attributes:
        values: number of distinct values.
        rows: number of elements in which the values were counted.
        commonest: text of the most frequent raw value; in a ``hex`` column, after the modulo. Missing values do not
            count as a value, nor does 0 in a ``hex`` column, since missing values are written as 0.
        commonest_rows: number of elements that have this value; 0 if all are missing.
        missing_rows: number of missing elements; in a ``hex`` column, elements that are 0 are included.
        has_missing: whether missing values have a row.
    """

    values: int = 0
    rows: int = 0
    commonest: str = ""
    commonest_rows: int = 0
    missing_rows: int = 0
    has_missing: bool = True


def summary_of(kind: Kind, values: npt.NDArray[np.integer] | Strings, counts: Counts) -> TableSummary:
    """Return the statistics of a column's values and the counts of their elements."""
    if not len(counts):
        return TableSummary()
    missing = _places_of_missing(kind, values)
    missing_rows = int(counts[missing].sum(dtype=np.int64))
    known = counts.copy()
    known[missing] = 0
    place = int(known.argmax())
    text = _text_of_string(values, place) if isinstance(values, Strings) else _text_of_integer(kind, int(values[place]))
    return TableSummary(
        len(counts),
        int(counts.sum(dtype=np.int64)),
        text if known[place] else "",
        int(known[place]),
        missing_rows,
        len(missing) > 0,
    )


def _places_of_missing(kind: Kind, values: npt.NDArray[np.integer] | Strings) -> npt.NDArray[np.integer]:
    """Return the place of the entry for missing values; empty if there is none."""
    if not isinstance(values, Strings):
        return np.flatnonzero(values == MISSING[kind])
    short = np.flatnonzero(np.diff(values.offsets) == len(MISSING_STRING))
    is_missing: npt.NDArray[np.bool_] = values.data[values.offsets[short]] == MISSING_STRING[0]
    return short[is_missing]


def _text_of_integer(kind: Kind, value: int) -> str:
    return f"{value:08x}" if kind == "hex" else str(value)


def _text_of_string(texts: Strings, place: int) -> str:
    value = texts.data[texts.offsets[place] : texts.offsets[place + 1]].tobytes()
    if not value:
        return '""'
    text = value[: 4 * _SHOWN].decode("utf-8", "ignore")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
