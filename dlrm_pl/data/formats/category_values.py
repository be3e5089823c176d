"""Values of categories as dictionaries hold them, with entries for a missing value and for values not seen in training.

In an integer or string column these entries are values that no row has: the two lowest integers of 64 bits, which
sources refuse, and the bytes 0xFF and 0xFE, which UTF-8 never has. A hex column has upstream's: a missing value is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import Kind
from dlrm_pl.data.formats.raw_rows import Bools, Integers, RawSparse
from dlrm_pl.data.lookup.strings import Strings

Values = Integers | Strings
"""Values of a column, int64 or texts."""

_LOWEST = int(np.iinfo(np.int64).min)

MISSING_INTEGER: Mapping[Kind, int] = {"hex": 0, "integer": _LOWEST}
"""What a missing value is written as."""
UNSEEN_INTEGER: Mapping[Kind, int] = {"hex": -1, "integer": _LOWEST + 1}
"""First value of a table whose row 0 is for values that are not in it."""
MISSING_TEXT = b"\xff"
UNSEEN_TEXT = b"\xfe"


def missing_value(kind: Kind) -> Values:
    """Return the value that a missing one is written as, as an array of one."""
    return _single(kind, MISSING_INTEGER, MISSING_TEXT)


def unseen_value(kind: Kind) -> Values:
    """Return the value in row 0 of a table where that row is for values not seen in training, as an array of one."""
    return _single(kind, UNSEEN_INTEGER, UNSEEN_TEXT)


def _single(kind: Kind, integers: Mapping[Kind, int], text: bytes) -> Values:
    return Strings.of([text]) if kind == "string" else np.array([integers[kind]], np.int64)


def num_values(values: Values) -> int:
    """Return the number of values."""
    return values.num_strings if isinstance(values, Strings) else len(values)


def as_read(kind: Kind, raw: RawSparse) -> Values:
    """Return the elements of a column with missing ones as dictionaries have them; no copy if none is missing."""
    missing = raw.missing
    if missing is None or not missing.any():
        return raw.values
    if not isinstance(raw.values, Strings):
        return np.where(missing, MISSING_INTEGER[kind], raw.values)
    texts = from_zero(_emptied(raw.values, missing) if np.diff(raw.values.offsets)[missing].any() else raw.values)
    lengths = np.where(missing, len(MISSING_TEXT), np.diff(texts.offsets))
    return Strings(offsets_of(lengths), np.insert(texts.data, texts.offsets[:-1][missing], MISSING_TEXT[0]))


def selected(values: Values, keep: Bools) -> Values:
    """Return the values that a mask keeps, in their order."""
    if not isinstance(values, Strings):
        return values[keep]
    return Strings(offsets_of(np.diff(values.offsets)[keep]), _emptied(values, ~keep).data)


def unseen_first(kind: Kind, values: Values) -> Values:
    """Return the values after the one for values not seen in training."""
    first = unseen_value(kind)
    if not isinstance(values, Strings):
        return np.concatenate([first, values])
    assert isinstance(first, Strings)
    offsets, data = from_zero(values)
    return Strings(np.concatenate([first.offsets[:1], offsets + len(first.data)]), np.concatenate([first.data, data]))


def from_zero(texts: Strings) -> Strings:
    """Return the texts with a first offset of 0, and without bytes that belong to none of them."""
    first, last = texts.offsets[0], texts.offsets[-1]
    return texts if first == 0 and last == len(texts.data) else Strings(texts.offsets - first, texts.data[first:last])


def offsets_of(lengths: npt.NDArray[np.integer]) -> Integers:
    """Return where runs of these lengths begin, and the end of the last."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _emptied(texts: Strings, empty: Bools) -> Strings:
    """Return the texts with some of them empty, without the bytes of those."""
    lengths = np.diff(texts.offsets)
    data = texts.data[texts.offsets[0] : texts.offsets[-1]][np.repeat(~empty, lengths)]
    return Strings(offsets_of(np.where(empty, 0, lengths)), data)
