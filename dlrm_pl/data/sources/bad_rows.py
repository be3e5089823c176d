"""Rows with a value that does not fit its column."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.raw_rows import Bools
from dlrm_pl.documents.fields import shown

Kind = Literal["label", "null", "integer", "float", "nan", "range", "negative", "category", "text", "length", "fields"]
"""Kind of error in a value, in one word, for counting.

``label``: it is not 0 or 1; ``null``: it is missing but must not be; ``integer``, ``float``: it is not such a number;
``nan``: it is NaN or infinite; ``range``: it is too large or too small; ``negative``: it is below 0, so it has no
remainder; ``category``: it is not hexadecimal; ``text``: it is not UTF-8; ``length``: it is a list of the wrong length;
``fields``: the row of a CSV file has too many or too few fields.
"""


_MISSING = tuple(shown(text) for text in ("null", "na", "n/a", "nan", "none", "nil", r"\n", "-", "?"))
"""Strings that other programs write for missing numbers, in lower case, as messages show them."""


class BadRow(NamedTuple):
    """The first error in a row.

    Attributes:
        row: number of the row in its file or frame, from 0.
        column: name of the column; "" for an error in the whole row.
        kind: kind of error.
        value: the value, shortened for messages.
        expected: description of a valid value.
    """

    row: int
    column: str
    kind: Kind
    value: str
    expected: str

    @property
    def reason(self) -> str:
        """Description of the error, without the place of the row."""
        if not self.column:
            return f"the row has {self.value}; expected {self.expected}"
        advice = ""
        if self.kind in ("integer", "float", "nan", "category") and self.value.lower() in _MISSING:
            advice = "; a missing value is an empty field"
        return f"column {self.column} is {self.value}; expected {self.expected}{advice}"


class Faults:
    """Collects the bad rows of a chunk, with the first error found in each.

    Args:
        num_rows: number of rows in the chunk.
    """

    def __init__(self, num_rows: int) -> None:
        self.good: Bools | None = None
        """Whether a row is good, ``[num_rows]``; None while all are."""
        self._num_rows = num_rows
        self._found: list[BadRow] = []

    def add(
        self, column: str, kind: Kind, expected: str, rows: npt.NDArray[np.int64], value: Callable[[int], object]
    ) -> None:
        """Note an error.

        Args:
            column: name of the column.
            kind: kind of error.
            expected: description of valid values.
            rows: numbers of the rows in the chunk, ascending; a row may occur more than once.
            value: function that returns the value for a place in ``rows``.
        """
        if self.good is None:
            self.good = np.ones(self._num_rows, np.bool_)
        numbers, places = np.unique(rows, return_index=True)
        for row, place in zip(numbers.tolist(), places.tolist(), strict=True):
            if self.good[row]:
                self.good[row] = False
                self._found.append(BadRow(row, column, kind, shown_value(value(place)), expected))

    def note(self, bad: BadRow) -> None:
        """Note a row that is bad as a whole, before its values are examined."""
        if self.good is None:
            self.good = np.ones(self._num_rows, np.bool_)
        self.good[bad.row] = False
        self._found.append(bad)

    def bad_rows(self, first_row: int = 0) -> tuple[BadRow, ...]:
        """Return the bad rows in order.

        Args:
            first_row: number of the chunk's first row in its file.
        """
        return tuple(sorted(bad._replace(row=bad.row + first_row) for bad in self._found))


def shown_value(value: object) -> str:
    """Return a table value for a message, shortened: null instead of None, and bytes as text if they are UTF-8."""
    if value is None:
        return "null"
    if isinstance(value, bytes):
        try:
            return shown(value.decode())
        except UnicodeDecodeError:
            return repr(value[:60]).removeprefix("b")
    return str(value)[:80] if isinstance(value, Decimal) else shown(value)
