"""Number the categories while the rows pass, and turn the numbers into ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.vocabulary import (
    UNSEEN,
    DictionaryChecksums,
    RawValues,
    Vocabulary,
    save_counts,
    save_dictionary,
)
from dlrm_pl.data.preprocessing.engine.native import Columns as Matrix
from dlrm_pl.data.preprocessing.engine.native import Numbers, Values
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, Table
from dlrm_pl.data.preprocessing.options import PreprocessOptions


@dataclass(frozen=True)
class TableSummary:
    """Statistics of a table for the data report.

    Attributes:
        values: number of distinct values.
        rows: number of rows that they were counted in.
        commonest: text of the most frequent raw value.
        commonest_rows: number of rows that have it.
    """

    values: int
    rows: int
    commonest: str
    commonest_rows: int


class VocabularyStage:
    """The tables of a log's hex columns, fed in the order of the rows, chunk by chunk from 0 on.

    A *number* counts a table's values by first appearance. An *id* is what is written: the number itself, or one
    more where row 0 stands for unseen values, or what ``mapping`` says where rare values join them.

    Args:
        columns: columns of the log.
        options: options that decide which values get an id of their own.
        engine: native code or its NumPy fallback.
    """

    def __init__(self, columns: Columns, options: PreprocessOptions, engine: Engine) -> None:
        self._sparse_fields = columns.sparse_fields
        self._min_count = options.min_count
        self.tables: list[Table] = [engine.table() for _ in columns.sparse]
        self.pipeline = engine.pipeline(self.tables)
        self._given: Vocabulary | None = None
        self._fallback = [0] * columns.num_sparse
        self._shift = int(options.vocabulary == "train_only")
        self._learns_last_day = options.vocabulary == "reference"
        if options.vocabulary_from is not None:
            self._take(DatasetFolder.open(options.vocabulary_from, rows=False).vocabulary(), engine)

    @property
    def nbytes(self) -> int:
        """Memory of the tables, in bytes."""
        return sum(table.nbytes for table in self.tables)

    def encode(self, chunk: int, matrix: Matrix, rows: int, *, last_day: bool) -> int:
        """Replace raw values by ids, before the mapping; threads wait for each other, see ``TablePipeline``.

        Args:
            chunk: number of the chunk, from 0.
            matrix: ``[1 + N + T, capacity]``, categories unsigned in int32, replaced.
            rows: number of rows in the matrix.
            last_day: whether the rows become test and val, whose values ``train_only`` does not add.

        Returns:
            The number of values that the vocabulary does not have.
        """
        learn = self._given is None and (self._learns_last_day or not last_day)
        self.pipeline.number(chunk, matrix, rows, learn=learn)
        ids = matrix[self._sparse_fields, :rows]
        unknown = None if learn else ids < 0
        if self._shift:
            ids += self._shift
        if unknown is None:
            return 0
        np.copyto(ids, np.array(self._fallback, np.int32)[:, None], where=unknown)
        return int(np.count_nonzero(unknown))

    def mappings(self) -> list[Numbers] | None:
        """Return for each table the ids after rare values got row 0, by the ids before; None if all values stay."""
        if self._min_count == 1:
            return None
        mappings = []
        for table in self.tables:
            _, counts = table.read(len(table))
            stays = counts >= self._min_count
            mappings.append(np.concatenate([[0], np.where(stays, np.cumsum(stays), 0)]).astype(np.int32))
        return mappings

    def save(self, folder: Path) -> DictionaryChecksums:
        """Write counts and dictionaries: raw values in the order of their ids, UNSEEN first where row 0 stands for it.

        Returns their checksums.

        One table after another, since all of them together may take gigabytes.
        """
        sizes = [self._size(table) for table in range(len(self.tables))]
        save_counts(folder, sizes)

        def save_and_yield() -> Iterator[RawValues]:
            for table in range(len(self.tables)):
                values = self._values(table)
                save_dictionary(folder, table, values)
                yield values

        return DictionaryChecksums.of_tables(sizes, save_and_yield())

    def _size(self, table: int) -> int:
        """Return the number of a table's ids."""
        if self._given is not None:
            return self._given.sizes[table]
        size = len(self.tables[table])
        if self._min_count > 1:
            _, counts = self.tables[table].read(size)
            size = int(np.count_nonzero(counts >= self._min_count))
        return size + self._shift

    def _values(self, table: int) -> RawValues:
        """Return a table's raw values in the order of their ids."""
        if self._given is not None:
            given = self._given.values[table]
            assert isinstance(given, np.ndarray)
            return given
        values, counts = self.tables[table].read()
        kept = values[counts >= self._min_count].astype(np.int64)
        return np.concatenate([[UNSEEN], kept]) if self._shift else kept

    def summaries(self) -> list[TableSummary]:
        """Return statistics of the tables; empty if the vocabulary comes from another dataset."""
        return [] if self._given is not None else [_summary(*table.read()) for table in self.tables]

    def _take(self, vocabulary: Vocabulary, engine: Engine) -> None:
        """Take over the ids of another dataset."""
        self._given = vocabulary
        dictionaries = [values for values in vocabulary.values if isinstance(values, np.ndarray)]
        shifts = {int(len(values) > 0 and values[0] == UNSEEN) for values in dictionaries}
        self._shift = shifts.pop() if len(shifts) == 1 else 0
        for index, (table, values) in enumerate(zip(self.tables, dictionaries, strict=True)):
            raw = values[self._shift :].astype(np.uint32)
            table.restore(raw, np.ones(len(raw), np.uint32))
            self._fallback[index] = vocabulary.unseen_id(index)


def _summary(values: Values, counts: Values) -> TableSummary:
    if not len(values):
        return TableSummary(0, 0, "", 0)
    place = int(counts.argmax())
    return TableSummary(len(values), int(counts.sum(dtype=np.int64)), f"{values[place]:08x}", int(counts[place]))


def save_tables(stage: VocabularyStage, folder: Path, sizes: list[int], counts_name: str) -> list[int]:
    """Append new values to ``values_T.u4`` and write all counts; returns the tables' sizes.

    Args:
        stage: vocabulary to save.
        folder: folder of the unfinished run.
        sizes: number of values of each table that are in the files already.
        counts_name: name of the file for the counts.
    """
    with (folder / counts_name).open("wb") as counts_file:
        for index, table in enumerate(stage.tables):
            values, counts = table.read(sizes[index])
            with (folder / f"values_{index}.u4").open("r+b" if sizes[index] else "wb") as handle:
                handle.truncate(4 * sizes[index])
                handle.seek(4 * sizes[index])
                handle.write(values.data)
            counts_file.write(counts.data)
    return [len(table) for table in stage.tables]


def load_tables(stage: VocabularyStage, folder: Path, sizes: list[int], counts_name: str) -> None:
    """Read the tables that ``save_tables`` wrote."""
    with (folder / counts_name).open("rb") as counts_file:
        for index, table in enumerate(stage.tables):
            values = np.fromfile(folder / f"values_{index}.u4", np.uint32, sizes[index])
            table.restore(values, np.frombuffer(counts_file.read(4 * sizes[index]), np.uint32))
