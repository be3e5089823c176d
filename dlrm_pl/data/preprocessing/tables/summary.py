"""Statistics of a vocabulary's tables for the data report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import Kind
from dlrm_pl.data.formats.category_values import MISSING
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import MISSING_INTEGER, MISSING_STRING, Counts

_SHOWN = 30  # Characters of a text.
_MISSING = "(missing)"


@dataclass(frozen=True)
class TableSummary:
    """Statistics of a table; all 0 for one that has no vocabulary.

    Attributes:
        values: number of distinct values.
        rows: number of elements that they were counted in.
        commonest: text of the most frequent raw value.
        commonest_rows: number of elements that have it.
        has_missing: whether missing values have a row.
    """

    values: int = 0
    rows: int = 0
    commonest: str = ""
    commonest_rows: int = 0
    has_missing: bool = True


def summary_of(kind: Kind, values: npt.NDArray[np.integer] | Strings, counts: Counts) -> TableSummary:
    """Return the statistics of a column's values and the counts of their elements."""
    if not len(counts):
        return TableSummary()
    place = int(counts.argmax())
    text = _text_of_string(values, place) if isinstance(values, Strings) else _text_of_integer(kind, int(values[place]))
    return TableSummary(
        len(counts), int(counts.sum(dtype=np.int64)), text, int(counts[place]), _has_missing(kind, values)
    )


def _has_missing(kind: Kind, values: npt.NDArray[np.integer] | Strings) -> bool:
    if not isinstance(values, Strings):
        return bool((values == MISSING[kind]).any())
    places = values.offsets[:-1][np.diff(values.offsets) == len(MISSING_STRING)]
    return bool((values.data[places] == MISSING_STRING[0]).any())


def _text_of_integer(kind: Kind, value: int) -> str:
    if kind == "hex":
        return f"{value:08x}"
    return _MISSING if value == MISSING_INTEGER else str(value)


def _text_of_string(texts: Strings, place: int) -> str:
    value = texts.data[texts.offsets[place] : texts.offsets[place + 1]].tobytes()
    if value == MISSING_STRING:
        return _MISSING
    if not value:
        return '""'
    text = value[: 4 * _SHOWN].decode("utf-8", "ignore")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
