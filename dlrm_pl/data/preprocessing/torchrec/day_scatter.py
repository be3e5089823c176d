"""From text to columns: each row is read once, and its raw values are written to the files of their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.native import Matrix
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.chunks import Chunk
from dlrm_pl.data.preprocessing.logs.days import Day
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.rejected import RejectedRows
from dlrm_pl.data.preprocessing.scatter.stage import COUNT_KEPT
from dlrm_pl.data.preprocessing.scatter.text import TextScatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import Counted, LogStatistics
from dlrm_pl.data.preprocessing.tables.hex import HexVocabulary
from dlrm_pl.data.preprocessing.torchrec.column_files import ColumnFiles


class DayScatter(TextScatter):
    """The first stage of a run that makes days in TorchRec's format; see ``TextScatter``."""

    # As TorchRec: an empty label is 0, and numbers below 0 are numbers.
    _label = "optional"
    _keep_negatives = True

    def __init__(
        self,
        days: Sequence[Day],
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
    ) -> None:
        columns = options.columns_of_logs
        vocabulary = HexVocabulary(columns, options, None, engine)  # Values are numbered later, column by column.
        super().__init__(days, options, state, statistics, vocabulary, engine, folder, progress)
        self._columns_of_rows = ColumnFiles(columns, state, folder)
        self._files = self._columns_of_rows  # type: ignore[assignment]
        self._rejected = RejectedRows(options, state, self._columns_of_rows, "line", self._hint)

    def _number(
        self,
        chunk: Chunk,
        matrix: Matrix,
        rows: int,
        first_row: int,
        keyed: npt.NDArray[np.void],
        counted: Counted,
    ) -> None:
        counted.clicks += int(np.count_nonzero(matrix[LABEL, :rows]))
        with self._pipeline.turn(COUNT_KEPT, chunk.index):
            first = self._state.kept_rows
            self._state.kept_rows += rows
            self._statistics.days[chunk.day].kept += rows
        self._columns_of_rows.write_columns(matrix, rows, first)
