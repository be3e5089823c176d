"""Tables of a raw log, whose categories are all hexadecimal: the engine numbers whole chunks."""

from __future__ import annotations

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.vocabulary import UNSEEN, Vocabulary
from dlrm_pl.data.preprocessing.engine.native import Matrix
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage


class HexVocabulary(VocabularyStage):
    """The vocabulary of a raw log.

    Args:
        columns: columns of the log.
        options: options that decide which values get their own id.
        given: vocabulary of another dataset whose ids are reused; None to learn a new one.
        engine: native code or its NumPy fallback.
    """

    def __init__(self, columns: Columns, options: PreprocessOptions, given: Vocabulary | None, engine: Engine) -> None:
        tables = [engine.table() for _ in columns.sparse]
        super().__init__(columns, options, tables, given)
        self._pipeline = engine.pipeline(tables)
        # For each table, the id of number 0, and the id of values that it does not have.
        self._shifts = np.full((len(tables), 1), self._shift, np.int32)
        self._fallbacks = np.zeros((len(tables), 1), np.int32)
        if given is not None:
            self._take(given)

    def stop(self) -> None:
        """Wake all waiting threads, which end with StoppedError."""
        self._pipeline.stop()

    def encode(self, chunk: int, matrix: Matrix, rows: int, *, last_day: bool) -> int:
        """Replace raw values by ids, before the mapping; threads wait for each other, see ``TablePipeline``.

        Args:
            chunk: number of the chunk, from 0.
            matrix: ``[1 + N + T, capacity]``; categories, unsigned values in int32, are replaced.
            rows: number of rows in the matrix.
            last_day: whether the rows become test and val.

        Returns:
            The number of values that are not in the vocabulary.
        """
        learn = self.learns(last_day=last_day)
        self._pipeline.number(chunk, matrix, rows, learn=learn)
        ids = matrix[self._columns.sparse_fields, :rows]
        unknown = None if learn else ids < 0
        if self._shifts.any():
            ids += self._shifts
        if unknown is None:
            return 0
        np.copyto(ids, self._fallbacks, where=unknown)
        return int(np.count_nonzero(unknown))

    def _take(self, vocabulary: Vocabulary) -> None:
        """Take over the ids of another dataset."""
        for number, (table, values) in enumerate(zip(self.tables, vocabulary.values, strict=True)):
            assert table is not None
            assert isinstance(values, np.ndarray)
            shift = int(len(values) > 0 and values[0] == UNSEEN)
            self._shifts[number] = shift
            self._fallbacks[number] = vocabulary.unseen_id(number)
            table.restore(values[shift:].astype(np.uint32), np.ones(len(values) - shift, np.uint32))
