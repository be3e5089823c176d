"""Tables of a log with any columns, which number the values of a chunk column by column."""

from __future__ import annotations

import numpy as np

from dlrm_pl.columns.column import SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.category_values import MISSING
from dlrm_pl.data.formats.raw_rows import RawRows, RawSparse
from dlrm_pl.data.formats.row_encoder import id_fields
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.tables import IntegerTable, StringTable, integer_table, string_table
from dlrm_pl.data.lookup.values import Numbers
from dlrm_pl.data.preprocessing.engine.native import Matrix
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage
from dlrm_pl.data.preprocessing.threads import Pipeline


class RowVocabulary(VocabularyStage):
    """Vocabulary of a log with any columns. Chunks pass through the tables in order, with threads at different tables.

    Args:
        columns: columns of the log.
        options: options that decide which values get their own id.
        given: vocabulary of another dataset whose ids are reused; None to learn a new one.
        last_day_apart: whether to number the last day's values in separate tables if the vocabulary does not learn
            them.
    """

    def __init__(
        self, columns: Columns, options: PreprocessOptions, given: Vocabulary | None, *, last_day_apart: bool = False
    ) -> None:
        tables: list[IntegerTable | StringTable | None] = [
            None if given is not None or column.ids != "vocabulary" else _table(column) for column in columns.sparse
        ]
        super().__init__(columns, options, tables, given)
        # A vocabulary without dictionaries gives only hashes and remainders.
        self._fixed = given or Vocabulary([None if table is None else [] for table in tables], columns)
        self._modulus = options.modulus
        self._numbered = tables
        self._apart: list[IntegerTable | StringTable | None] = []
        if last_day_apart and given is None and not self.learns(last_day=True):
            self._apart = [
                None if table is None else _table(column) for column, table in zip(columns.sparse, tables, strict=True)
            ]
            self.tables_of_last_day = self._apart
        self._pipeline = Pipeline(len(tables))

    def stop(self) -> None:
        """Wake all waiting threads, which end with StoppedError."""
        self._pipeline.stop()

    def encode(self, chunk: int, rows: RawRows, last_day: int, matrix: Matrix) -> int:
        """Write the ids of a chunk's rows, before the mapping; threads wait for each other.

        Args:
            chunk: number of the chunk, from 0; each number must be used exactly once.
            rows: rows of the training days, then those of the last day.
            last_day: number of the first row of the last day.
            matrix: ``[record_ints, capacity]``; the ids are written to it.

        Returns:
            The number of elements that are not in the vocabulary.
        """
        unknown = 0
        for number, (column, raw) in enumerate(zip(self._columns.sparse, rows.sparse, strict=True)):
            if self._numbered[number] is None:
                ids, unseen = self._fixed.ids(number, self._reduced(column, raw))
            else:
                with self._pipeline.turn(number, chunk):
                    ids, unseen = self._number(number, self._reduced(column, raw), _element(raw, last_day))
            fields = self._columns.table_fields[number]
            matrix[fields, : rows.num_rows] = id_fields(column, ids, raw.offsets).T
            unknown += unseen
        return unknown

    def _reduced(self, column: SparseColumn, raw: RawSparse) -> RawSparse:
        """Return hex values as a vocabulary has them: modulo ``max_ind_range``, with 0 for missing values."""
        if column.kind != "hex" or column.ids != "vocabulary":
            return raw
        assert not isinstance(raw.values, Strings)
        values = raw.values % self._modulus if self._modulus else raw.values
        if raw.missing is not None:
            values = np.where(raw.missing, MISSING["hex"], values)
        return RawSparse(values, None, raw.offsets)

    def _number(self, table: int, raw: RawSparse, last_day: int) -> tuple[Numbers, int]:
        """Return the ids of elements, the last day's from ``last_day`` on, and how many the table does not have."""
        if self.learns(last_day=True):
            last_day = len(raw.values) if isinstance(raw.values, np.ndarray) else raw.values.num_strings
        numbers = np.concatenate(
            [
                self._looked_up(self._numbered[table], _part(raw, 0, last_day), learn=True),
                self._looked_up(
                    self._apart[table] if self._apart else self._numbered[table],
                    _part(raw, last_day, None),
                    learn=bool(self._apart),
                ),
            ]
        )
        unknown = numbers < 0
        numbers += self._shift
        numbers[unknown] = 0
        return numbers, int(np.count_nonzero(unknown))

    @staticmethod
    def _looked_up(table: IntegerTable | StringTable | None, raw: RawSparse, *, learn: bool) -> Numbers:
        assert table is not None
        return table.number(raw.values, learn=learn, missing=raw.missing)  # type: ignore[arg-type]


def _table(column: SparseColumn) -> IntegerTable | StringTable:
    return string_table() if column.kind == "string" else integer_table()


def _element(raw: RawSparse, row: int) -> int:
    """Return the number of the first element of a row."""
    return row if raw.offsets is None else int(raw.offsets[row] - raw.offsets[0])


def _part(raw: RawSparse, first: int, last: int | None) -> RawSparse:
    """Return the elements from ``first`` up to, but not including, ``last``."""
    missing = None if raw.missing is None else raw.missing[first:last]
    if isinstance(raw.values, Strings):
        offsets, data = raw.values
        return RawSparse(Strings(offsets[first : None if last is None else last + 1], data), missing)
    return RawSparse(raw.values[first:last], missing)
