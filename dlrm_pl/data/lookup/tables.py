"""Tables that number the distinct values of a categorical column by first appearance."""

from __future__ import annotations

from typing import Protocol

from dlrm_pl.data.lookup.fallback import PythonIntegerTable, PythonStringTable
from dlrm_pl.data.lookup.native import NativeIntegerTable, NativeStringTable, library
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Bools, Counts, Integers, Numbers


class IntegerTable(Protocol):
    """Maps 64-bit integers to numbers by first appearance, and counts each value's rows.

    Numbering is exact: two values never share a number. Only one thread at a time may use a table; different tables are
    independent, and native calls release the interpreter lock.
    """

    def __len__(self) -> int:
        """Return the number of distinct values."""

    @property
    def nbytes(self) -> int:
        """Memory of the table, in bytes."""

    def number(self, values: Integers, *, learn: bool, missing: Bools | None = None) -> Numbers:
        """Return the numbers of values.

        Args:
            values: int64 ``[n]``.
            learn: whether new values get the next numbers, and rows are counted; if not, the number of a new value is
                -1.
            missing: whether each element is missing, ``[n]``; a missing element stands for ``MISSING_INTEGER``,
                whatever its value. None if none is.

        Raises:
            MemoryError: the table cannot grow.
        """

    def read(self, first: int = 0) -> tuple[Integers, Counts]:
        """Return the values from number ``first`` on, in order, and the counts of all values, uint32.

        Counts saturate: at the largest uint32, a count stays the same when more rows follow.
        """

    def restore(self, values: Integers, counts: Counts) -> None:
        """Restore the table that ``read`` returned, in place of the current values.

        Raises:
            DataFormatError: a value occurs twice; the table is then empty.
            MemoryError: the table cannot grow.
        """


class StringTable(Protocol):
    """Maps strings of any length to numbers by first appearance, and counts each string's rows.

    Numbering is exact: strings are compared byte by byte. In all other respects, it works like ``IntegerTable``.
    """

    def __len__(self) -> int:
        """Return the number of distinct texts."""

    @property
    def nbytes(self) -> int:
        """Memory of the table, in bytes."""

    def number(self, values: Strings, *, learn: bool, missing: Bools | None = None) -> Numbers:
        """Return the numbers of strings; see ``IntegerTable``. A missing element stands for ``MISSING_STRING``."""

    def read(self, first: int = 0) -> tuple[Strings, Counts]:
        """Return the strings from number ``first`` on, in order, and all strings' counts; see ``IntegerTable``."""

    def restore(self, values: Strings, counts: Counts) -> None:
        """Restore the table that ``read`` returned; see ``IntegerTable``."""


def integer_table() -> IntegerTable:
    """Return an empty table of integers, native or its fallback."""
    native = library()
    return PythonIntegerTable() if native is None else NativeIntegerTable(native)


def string_table() -> StringTable:
    """Return an empty table of strings, native or its fallback."""
    native = library()
    return PythonStringTable() if native is None else NativeStringTable(native)
