"""Tables of a vocabulary, whatever the form of the log, and the files written from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.category_values import Values, selected, unseen_first
from dlrm_pl.data.formats.vocabulary import DictionaryChecksums, Vocabulary, save_counts, save_dictionary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.values import Counts, Numbers
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.tables.summary import TableSummary, summary_of


class ValueTable(Protocol):
    """Maps values to numbers by first appearance: a table of ``data/lookup/tables.py``, or of the raw-log engine."""

    @property
    def nbytes(self) -> int: ...  # noqa: D102

    def __len__(self) -> int: ...

    def read(self, first: int = 0) -> tuple[Any, Counts]: ...  # noqa: D102

    def restore(self, values: Any, counts: Counts) -> None: ...  # noqa: D102


def mapping_of(counts: Counts, min_count: int) -> Numbers:
    """Return new ids, in which rare values have row 0, by the old ids, of which 0 stands for unseen values."""
    stays = counts >= min_count
    return np.concatenate([[0], np.where(stays, np.cumsum(stays), 0)]).astype(np.int32)


class VocabularyStage:
    """Tables of a log's categorical columns, fed in the order of the rows, chunk by chunk from 0 on.

    A *number* counts a table's values by first appearance. An *id* is what is written: the number itself; or one more,
    if row 0 stands for unseen values; or the id from ``mappings``, if rare values share row 0 too.

    Attributes:
        tables: the tables.
        tables_of_last_day: tables that number the last day's values separately when part of a log is read and its
            vocabulary is merged with others later; None in other cases.

    Args:
        columns: columns of the log.
        options: options that decide which values get their own id.
        tables: table of each categorical column; None for a column whose ids are hashes or remainders.
        given: vocabulary of another dataset whose ids are reused; None to learn a new one.
    """

    def __init__(
        self,
        columns: Columns,
        options: PreprocessOptions,
        tables: Sequence[ValueTable | None],
        given: Vocabulary | None,
    ) -> None:
        self.tables = tables
        self.tables_of_last_day: Sequence[ValueTable | None] | None = None
        self._columns = columns
        self._min_count = options.min_count
        self._given = given
        self._learns_last_day = options.vocabulary == "reference"
        self._shift = int(options.vocabulary == "train_only")  # Id of number 0.

    @property
    def nbytes(self) -> int:
        """Memory of the tables, in bytes."""
        return sum(table.nbytes for table in self.tables if table is not None)

    def learns(self, *, last_day: bool) -> bool:
        """Return whether new values of rows get their own ids.

        Args:
            last_day: whether the rows become test and val, whose values are not added with ``train_only``.
        """
        return self._given is None and (self._learns_last_day or not last_day)

    @property
    def shift(self) -> int:
        """Id of number 0, before the mapping."""
        return self._shift

    @property
    def is_given(self) -> bool:
        """Whether the ids are those of another dataset."""
        return self._given is not None

    def stop(self) -> None:
        """Wake all waiting threads, which end with StoppedError."""
        raise NotImplementedError

    def mappings(self) -> list[Numbers | None] | None:
        """Return for each table new ids, in which rare values have row 0, by the old ids; None if all values stay."""
        if self._min_count == 1:
            return None
        mappings: list[Numbers | None] = []
        for table in self.tables:
            if table is None:
                mappings.append(None)
                continue
            _, counts = table.read(len(table))
            mappings.append(mapping_of(counts, self._min_count))
        return mappings

    def save(self, folder: Path, columns: Columns) -> DictionaryChecksums:
        """Write counts and dictionaries: raw values in the order of their ids, after one for unseen values, if any.

        Args:
            folder: dataset folder.
            columns: columns of the dataset, with all numbers of their transforms.

        Returns:
            The checksums of the counts and dictionaries.
        """
        sizes = [self._size(table) for table in range(len(self.tables))]
        save_counts(folder, sizes)

        # One table at a time, since all of them together may take gigabytes.
        def save_and_yield() -> Iterator[Values | None]:
            for table, column in enumerate(columns.sparse):
                values = self._values(table)
                if values is not None:
                    save_dictionary(folder, table, values, column)
                yield values

        return DictionaryChecksums.of_tables(sizes, save_and_yield(), columns)

    def without_values(self) -> list[str]:
        """Return the names of columns whose tables would have no rows, since all their lists are empty."""
        names = [column.name for column in self._columns.sparse]
        return [name for table, name in enumerate(names) if not self._size(table)]

    def summaries(self) -> list[TableSummary]:
        """Return statistics of the tables; empty if the vocabulary comes from another dataset."""
        if self._given is not None:
            return []
        return [
            TableSummary() if table is None else summary_of(column.kind, *table.read())
            for column, table in zip(self._columns.sparse, self.tables, strict=True)
        ]

    def _size(self, table: int) -> int:
        """Return the number of a table's ids."""
        if self._given is not None:
            return self._given.sizes[table]
        numbered = self.tables[table]
        if numbered is None:
            rows = self._columns.sparse[table].rows
            assert rows is not None
            return rows
        size = len(numbered)
        if self._min_count > 1:
            _, counts = numbered.read(size)
            size = int(np.count_nonzero(counts >= self._min_count))
        return size + self._shift

    def _values(self, table: int) -> Values | None:
        """Return a table's raw values in the order of their ids."""
        if self._given is not None:
            return self._given.values[table]
        numbered = self.tables[table]
        if numbered is None:
            return None
        values, counts = numbered.read()
        if not isinstance(values, Strings):
            values = values.astype(np.int64)
        kept = selected(values, counts >= self._min_count)
        return unseen_first(self._columns.sparse[table].kind, kept) if self._shift else kept
