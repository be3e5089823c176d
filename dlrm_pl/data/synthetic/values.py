"""Values that stand for ranks in a log: hexadecimal numbers, integers, and texts in several scripts."""

from __future__ import annotations

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.category_values import MISSING, Values, offsets_of
from dlrm_pl.data.formats.raw_rows import RawSparse
from dlrm_pl.data.lookup.hashing import hashed_ids, modulo_ids
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Numbers
from dlrm_pl.data.synthetic.drawing import ABSENT_RANK, MISSING_RANK, Integers

HASH_CYCLE = 40_000_000
"""MLPerf's max_ind_range. Hashes of one table also differ modulo this number, so preprocessing keeps them distinct."""
_HASH_PRIME = 39_999_983  # The largest prime below the cycle: multiplication modulo it is a bijection.
_HASH_LAYERS = 107  # 107 cycles fit below 2**32.

_DIGITS = 8
# First of sixteen letters of each script: Latin, Greek, Cyrillic, Arabic, Devanagari, Chinese, Korean, emoji.
_SCRIPTS = (0x61, 0x3B1, 0x430, 0x627, 0x915, 0x4E00, 0xAC00, 0x1F600)


class CategoryHash:
    """A seeded injective map from each table's ranks to 32-bit hashes that look like those in the logs.

    Hashes of one table are distinct, even modulo ``HASH_CYCLE``, and never 0, which stands for a missing value.
    """

    def __init__(self, rng: np.random.Generator, num_tables: int) -> None:
        self._multiplier = 1 + (rng.random(num_tables) * (_HASH_PRIME - 1)).astype(np.int64)
        self._offset = (rng.random(num_tables) * _HASH_PRIME).astype(np.int64)

    def __call__(self, table: int, ranks: Integers) -> Integers:
        """Return the hashes of ``ranks`` of one table, 0 for ``MISSING_RANK``; same shape."""
        # Products stay below 2**52.
        slot = (ranks * self._multiplier[table] + self._offset[table]) % _HASH_PRIME
        layer = (slot * 2654435761 >> 20) % _HASH_LAYERS
        return np.where(ranks == MISSING_RANK, 0, 1 + slot + HASH_CYCLE * layer)


class CategoryValues:
    """Values of all tables, a distinct one for each rank.

    Args:
        rng: generator that the values depend on.
        columns: columns of the log.
    """

    def __init__(self, rng: np.random.Generator, columns: Columns) -> None:
        self._columns = columns
        self.hash = CategoryHash(rng, columns.num_sparse)

    def __call__(self, table: int, ranks: Integers) -> Values:
        """Return the values of ranks of one table, ``[n]``; the value for ``MISSING_RANK`` is arbitrary."""
        column, hashes = self._columns.sparse[table], self.hash(table, ranks)
        if column.kind == "string":
            return texts(hashes)
        if column.kind == "integer" and column.ids != "modulo":
            return np.where(hashes % 2, -hashes, hashes)
        return hashes

    def raw(self, table: int, ranks: Integers) -> RawSparse:
        """Return the values of one table's rows.

        Args:
            table: number of the table.
            ranks: ``[width, B]``.
        """
        offsets = None
        if self._columns.sparse[table].is_list:
            ranks, offsets = self.elements(ranks)
        ranks = ranks.ravel()
        missing = ranks == MISSING_RANK
        return RawSparse(self(table, ranks), missing if missing.any() else None, offsets)

    @staticmethod
    def elements(ranks: Integers) -> tuple[Integers, Integers]:
        """Return the ranks of the elements of lists, row by row, and where each row begins.

        Args:
            ranks: ``[width, B]``.
        """
        present = (ranks != ABSENT_RANK).T
        return ranks.T[present], offsets_of(present.sum(axis=1))

    def computed_ids(self, table: int, ranks: Integers) -> Numbers:
        """Return the ids of ranks for a column whose ids are hashes or remainders, ``[n]``."""
        column, values, missing = self._columns.sparse[table], self(table, ranks), ranks == MISSING_RANK
        assert column.rows is not None
        if isinstance(values, Strings) or column.ids == "hash":
            return hashed_ids(values, column.rows, missing)
        return modulo_ids(values, column.rows, missing)

    def dictionary(self, table: int, ranks: Integers) -> Values | None:
        """Return the dictionary entries for ranks of one table; None for hashes and remainders."""
        column = self._columns.sparse[table]
        if column.ids != "vocabulary":
            return None
        values, missing = self(table, ranks), MISSING[column.kind]
        if isinstance(values, Strings):
            assert isinstance(missing, bytes)
            return Strings.of(
                [
                    missing if rank == MISSING_RANK else text
                    for rank, text in zip(ranks.tolist(), values.to_list(), strict=True)
                ]
            )
        return np.where(ranks == MISSING_RANK, missing, values % HASH_CYCLE if column.kind == "hex" else values)


def texts(hashes: Integers) -> Strings:
    """Return a distinct text for each 32-bit number: eight letters of one of several scripts."""
    digits = hashes[:, None] >> np.arange(4 * (_DIGITS - 1), -1, -4) & 15
    scripts = hashes % len(_SCRIPTS)
    letters = [np.array([list(chr(first + place).encode()) for place in range(16)], np.uint8) for first in _SCRIPTS]
    lengths = np.array([_DIGITS * each.shape[1] for each in letters])
    offsets = offsets_of(lengths[scripts])
    data = np.empty(offsets[-1], np.uint8)
    for script, (each, length) in enumerate(zip(letters, lengths, strict=True)):
        rows = np.flatnonzero(scripts == script)
        data[offsets[rows][:, None] + np.arange(length)] = each[digits[rows]].reshape(len(rows), length)
    return Strings(offsets, data)
