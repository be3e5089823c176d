"""Ids of a column's values: from its dictionary, from a hash, or as a remainder."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Literal

import numpy as np

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.data.formats.category_values import MISSING, Values, num_values, special_value
from dlrm_pl.data.formats.raw_rows import Bools, RawSparse
from dlrm_pl.data.lookup.hashing import hashed_ids, modulo_ids
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.tables import IntegerTable, StringTable, integer_table, string_table
from dlrm_pl.data.lookup.values import Numbers

UNKNOWN = -1

Fallback = Literal["unseen", "missing", "first"]
"""Row that unseen values get: one of their own, the row of missing values, or the row of the first value."""


class TableLookup:
    """Rows of a column's table, by value. Several threads may use it.

    Args:
        column: the column.
        values: for a vocabulary, the values in the order of their ids, without duplicates; otherwise None.
    """

    def __init__(self, column: SparseColumn, values: Values | None) -> None:
        self._column = column
        self.values = values
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[TableLookup], tuple[SparseColumn, Values | None]]:
        """Pickle the constructor's arguments; each process makes its own table."""
        return TableLookup, (self._column, self.values)

    @property
    def size(self) -> int:
        """Number of rows."""
        if self.values is not None:
            return num_values(self.values)
        assert self._column.rows is not None
        return self._column.rows

    @property
    def unseen_id(self) -> int:
        """Row of values that are not in the vocabulary: their own row 0, the row of a missing value, or 0."""
        return self._fallback[1]

    @property
    def unseen_fallback(self) -> Fallback:
        """Kind of row that ``unseen_id`` is."""
        return self._fallback[0]

    @cached_property
    def _fallback(self) -> tuple[Fallback, int]:
        names: tuple[Literal["unseen", "missing"], ...] = ("unseen", "missing")
        for name in names if self.values is not None else ():
            if (row := int(self._numbers(special_value(self._column.kind, name), None)[0])) != UNKNOWN:
                return name, row
        return "first", 0

    def ids(self, raw: RawSparse) -> tuple[Numbers, int]:
        """Return the ids of a column's elements, int32 ``[E]``, and how many of them are not in the vocabulary.

        These get ``unseen_id``. With hashes and remainders, every value has an id.

        Raises:
            DataFormatError: a value occurs twice in the vocabulary.
            ShapeError: a value is negative and the column's ids are remainders.
        """
        if self.values is None:
            return self._computed(raw), 0
        ids = self._numbers(raw.values, raw.missing)
        unknown = ids == UNKNOWN
        if unseen := int(np.count_nonzero(unknown)):
            ids[unknown] = self.unseen_id
        return ids, unseen

    def _computed(self, raw: RawSparse) -> Numbers:
        if self._column.ids == "hash":
            return hashed_ids(raw.values, self.size, raw.missing)
        assert not isinstance(raw.values, Strings)
        return modulo_ids(raw.values, self.size, raw.missing)

    def _numbers(self, values: Values, missing: Bools | None) -> Numbers:
        """Return the rows of values, UNKNOWN for values that are not in the dictionary."""
        with self._lock:
            if isinstance(values, Strings):
                return self._strings.number(values, learn=False, missing=missing)
            if self._column.kind == "hex" and missing is not None:
                values, missing = np.where(missing, MISSING["hex"], values), None
            return self._integers.number(np.ascontiguousarray(values), learn=False, missing=missing)

    @cached_property
    def _strings(self) -> StringTable:
        assert isinstance(self.values, Strings)
        table = string_table()
        table.restore(self.values, np.ones(self.size, np.uint32))
        return table

    @cached_property
    def _integers(self) -> IntegerTable:
        assert isinstance(self.values, np.ndarray)
        table = integer_table()
        table.restore(self.values, np.ones(self.size, np.uint32))
        return table
