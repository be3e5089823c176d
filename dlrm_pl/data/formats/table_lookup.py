"""Ids of the values of one column: by its dictionary, by a hash, or by a remainder."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.data.formats.category_values import Values, as_read, missing_value, num_values, unseen_value
from dlrm_pl.data.formats.raw_rows import Integers, RawSparse
from dlrm_pl.data.lookup.strings import Strings

Ids = npt.NDArray[np.int32]

UNKNOWN = -1


class TableLookup:
    """The rows of a column's table, by value.

    Args:
        column: the column.
        values: of a vocabulary, the values in the order of their ids, without repetitions; else None.
    """

    def __init__(self, column: SparseColumn, values: Values | None) -> None:
        self._column = column
        self.values = values

    @property
    def size(self) -> int:
        """Number of rows."""
        if self.values is not None:
            return num_values(self.values)
        assert self._column.rows is not None
        return self._column.rows

    @cached_property
    def unseen_id(self) -> int:
        """Row of values that a vocabulary does not have: their own row 0, a missing value's, or 0."""
        if self.values is None:
            return 0
        for value in (unseen_value(self._column.kind), missing_value(self._column.kind)):
            if (row := int(self._numbers(value)[0])) != UNKNOWN:
                return row
        return 0

    def ids(self, raw: RawSparse) -> tuple[Ids, int]:
        """Return the ids of a column's elements, int32 ``[E]``, and how many are not in the vocabulary.

        Those get ``unseen_id``. Of hashes and remainders every value has an id.
        """
        if self.values is None:
            return self._computed(raw), 0
        ids = self._numbers(as_read(self._column.kind, raw))
        unknown = ids == UNKNOWN
        if not (unseen := int(np.count_nonzero(unknown))):
            return ids, 0
        return np.where(unknown, np.int32(self.unseen_id), ids), unseen

    def _computed(self, raw: RawSparse) -> Ids:
        rows = self.size
        if self._column.ids == "hash":
            ids = (_hash_values(raw.values) % np.uint64(rows - 1)).astype(np.int32) + np.int32(1)
        else:
            assert not isinstance(raw.values, Strings)
            ids = (raw.values % rows).astype(np.int32)
        return ids if raw.missing is None else np.where(raw.missing, np.int32(0), ids)

    def _numbers(self, values: Values) -> Ids:
        """Rows of values, UNKNOWN for those that the dictionary does not have."""
        if isinstance(values, Strings):
            rows = self._by_text
            return np.fromiter((rows.get(text, UNKNOWN) for text in values.to_list()), np.int32, values.num_strings)
        order, ordered = self._sorted
        if not len(ordered):
            return np.full(len(values), UNKNOWN, np.int32)
        place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
        return np.where(ordered[place] == values, order[place], UNKNOWN).astype(np.int32)

    @cached_property
    def _by_text(self) -> dict[bytes, int]:
        assert isinstance(self.values, Strings)
        return {text: row for row, text in enumerate(self.values.to_list())}

    @cached_property
    def _sorted(self) -> tuple[Integers, Integers]:
        assert isinstance(self.values, np.ndarray)
        order = np.argsort(self.values, kind="stable")
        return order, self.values[order]


def _hash_values(values: Values) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        if isinstance(values, Strings):
            texts = np.zeros(values.num_strings, np.uint64)
            for index, text in enumerate(values.to_list()):
                state = 0xCBF29CE484222325
                for byte in text:
                    state = (state ^ byte) * 0x100000001B3 % 2**64
                texts[index] = state
            mixed = texts
        else:
            mixed = values.astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
