"""From text to columns: each row is read once, and its raw values are written to the files of their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dlrm_pl.data.formats.binary_format import LABEL
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.days import Day
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.rejected import RejectedRows
from dlrm_pl.data.preprocessing.scatter.text import Parsed, TextMemory, TextScatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.tables.hex import HexVocabulary
from dlrm_pl.data.preprocessing.torchrec.column_files import ColumnFiles


class DayScatter(TextScatter):
    """First stage of a run that makes days in TorchRec's format; see ``TextScatter``."""

    # As in TorchRec: an empty label is 0, and negative numbers are kept.
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

    def number(self, read: Parsed, memory: TextMemory) -> None:
        """Write the columns of a chunk."""
        memory.counted.clicks += int(np.count_nonzero(memory.matrix[LABEL, : read.rows]))
        self._columns_of_rows.write_columns(memory.matrix, read.rows, read.first_kept)
