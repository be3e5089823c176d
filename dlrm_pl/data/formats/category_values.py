"""Category values as dictionaries hold them, with entries for missing values and for values not seen in training.

In integer and string columns, these entries are values that no row can have, see ``data/lookup/values.py``. Hex columns
use the same entries as upstream: 0 for missing values and -1 for unseen ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import Kind
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import (
    MISSING_INTEGER,
    MISSING_STRING,
    UNSEEN_INTEGER,
    UNSEEN_STRING,
    Bools,
    Integers,
)

Values = Integers | Strings
"""Values of a column, int64 or strings."""

MISSING: Mapping[Kind, int | bytes] = {"hex": 0, "integer": MISSING_INTEGER, "string": MISSING_STRING}
"""Value that stands for a missing one."""
UNSEEN: Mapping[Kind, int | bytes] = {"hex": -1, "integer": UNSEEN_INTEGER, "string": UNSEEN_STRING}
"""First value of a table whose row 0 is for values that are not in it."""


def special_value(kind: Kind, name: Literal["missing", "unseen"]) -> Values:
    """Return the value that stands for a missing one, or for unseen ones, as an array of length 1."""
    value = (MISSING if name == "missing" else UNSEEN)[kind]
    return Strings.of([value]) if isinstance(value, bytes) else np.array([value], np.int64)


def num_values(values: Values) -> int:
    """Return the number of values."""
    return values.num_strings if isinstance(values, Strings) else len(values)


def selected(values: Values, keep: Bools) -> Values:
    """Return the values that a mask selects, in their order."""
    if not isinstance(values, Strings):
        return values[keep]
    lengths = np.diff(values.offsets)
    data = values.data[values.offsets[0] : values.offsets[-1]][np.repeat(keep, lengths)]
    return Strings(offsets_of(lengths[keep]), data)


def unseen_first(kind: Kind, values: Values) -> Values:
    """Return the values preceded by the one that stands for unseen values."""
    first = special_value(kind, "unseen")
    if not isinstance(values, Strings):
        return np.concatenate([first, values])
    assert isinstance(first, Strings)
    offsets, data = from_zero(values)
    return Strings(np.concatenate([first.offsets[:1], offsets + len(first.data)]), np.concatenate([first.data, data]))


def from_zero(texts: Strings) -> Strings:
    """Return the strings with a first offset of 0, and without bytes that belong to none of them."""
    first, last = texts.offsets[0], texts.offsets[-1]
    return texts if first == 0 and last == len(texts.data) else Strings(texts.offsets - first, texts.data[first:last])


def offsets_of(lengths: npt.NDArray[np.integer]) -> Integers:
    """Return the start of each run, given their lengths, and the end of the last one."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
