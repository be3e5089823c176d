"""A log of files with named columns: CSV, Parquet or Arrow."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.counting import RowLabels
from dlrm_pl.data.preprocessing.options import KAGGLE_DAYS, PreprocessOptions
from dlrm_pl.data.preprocessing.plan import Plan, plan_of
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.rows import RowScatter, check_days
from dlrm_pl.data.preprocessing.scatter.stage import Scatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.tables.rows import RowVocabulary
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage
from dlrm_pl.data.sources.cutting import CHUNK_BYTES, has_long_values
from dlrm_pl.data.sources.days import Days
from dlrm_pl.data.sources.find_days import find_days
from dlrm_pl.data.sources.source import Source, chunk_rows, open_source
from dlrm_pl.documents.fields import printable
from dlrm_pl.errors import DataFormatError

_READING_SHARE = 0.2  # Share of reading in the time per row.
_RAW_BYTES = 16  # Approximate size of a value before it is converted to a record's.


class RowLog:
    """Files with named columns.

    Args:
        raw: file or folder.
        options: options of the run.

    Raises:
        DataFormatError: a file is missing, has another format or lacks a column, or there are too few days.
    """

    def __init__(self, raw: Path, options: PreprocessOptions) -> None:
        columns = options.columns_of_logs
        try:
            source = open_source(raw, columns, truncate_lists=options.truncate_lists)
        except DataFormatError as error:
            if options.columns is not None:
                raise
            raise DataFormatError(
                f"{error} These are Criteo's columns. State those of your log with --columns."
            ) from None
        split_by = options.split_by or ("files" if len(source.files) > 1 else "rows")
        days = KAGGLE_DAYS if split_by == "rows" and options.days is None else options.days
        self._days: Days = find_days(source, split_by, days)
        if self.num_days < options.least_days:
            raise DataFormatError(
                f"{raw}: has only 1 day by {split_by} ({printable(self._days.names[0])}); at least "
                f"{options.least_days} are needed, one for training and one for testing. Divide the rows "
                "differently, for example with --split_by rows --days 7."
            )
        self._source: Source = source.with_days(self._days)
        self._row_bytes = 0.0

    @property
    def files(self) -> list[Path]:
        """Files of the log."""
        return [file.path for file in self._source.files]

    @property
    def num_days(self) -> int:
        """Number of days."""
        return len(self._days.names)

    @property
    def row_noun(self) -> str:
        """Word for a row in messages."""
        return "row"

    @property
    def value_type(self) -> np.dtype[np.int64]:
        """Type of the values in its tables that are not strings."""
        return np.dtype(np.int64)

    def name(self, day: int) -> str:
        """Return the name of a day for messages."""
        name = printable(self._days.names[day])
        by = "" if self._days.split_by in ("files", "rows") else f"{self._days.split_by}="
        return f"{self._source.path}, {by}{name}"

    def plan(self, options: PreprocessOptions, engine: Engine) -> Plan:
        """Estimate the sizes and the time of a run from the number of rows and the first chunk."""
        began = time.perf_counter()
        chunk = next(self._source.raw_chunks(), None)
        if chunk is None:
            raise DataFormatError(f"{self._source.path}: has no rows.")
        self._source.convert(chunk)
        seconds = time.perf_counter() - began
        size = self._source.size_bytes
        rows = self._source.num_rows
        if rows is None:  # A chunk takes about as many bytes in memory as its text.
            packed = any(file.compression for file in self._source.files)
            rows = max(chunk.num_rows, int(size * (3 if packed else 1) * chunk.num_rows / max(1, chunk.table.nbytes)))
        self._row_bytes = size / rows
        days = [rows / self.num_days if count is None else count for count in self._days.rows]
        row_seconds = seconds / chunk.num_rows / _READING_SHARE
        return plan_of(days, size, options, engine, rows * row_seconds / options.workers)

    def vocabulary(self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine) -> VocabularyStage:
        """Return the tables that number its categories."""
        return RowVocabulary(options.columns_of_logs, options, given)

    def vocabulary_of_part(
        self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine, file: int
    ) -> VocabularyStage:
        """Return the tables that number the categories of one file, to be merged with those of the other files."""
        return RowVocabulary(options.columns_of_logs, options, given, last_day_apart=True)

    def is_last_day(self, file: int) -> bool:
        """Return whether all rows of a file belong to the last day."""
        return self._days.split_by == "files" and file == self.num_days - 1

    def count_rows(self, file: int, progress: Callable[[int], None]) -> int | None:
        """Count the rows of a file without parsing them; None if that is impossible.

        Unusable rows are counted as well.
        """
        return self._source.file_rows[file] if self._days.split_by == "files" else None

    def labels(
        self, file: int, options: PreprocessOptions, engine: Engine, progress: Callable[[int], None]
    ) -> RowLabels:
        """Parse a file for the labels and days of its usable rows."""
        clicks, last = [np.zeros(0, np.bool_)], [np.zeros(0, np.bool_)]
        for raw in takewhile(lambda chunk: chunk.file == file, self._source.raw_chunks(file)):
            chunk = self._source.convert(raw)
            assert chunk.days is not None
            assert chunk.rows.label is not None
            clicks.append(chunk.rows.label != 0)
            last.append(chunk.days == self.num_days - 1)
            progress(raw.table.nbytes)
        return RowLabels(np.concatenate(clicks), np.concatenate(last))

    def start_of_part(self, part: LogPart, state: State) -> None:
        """Make a state start at a part."""
        state.file = part.file

    def check_days(self, statistics: LogStatistics) -> None:
        """Check that each day has rows, after all of them have been counted.

        Raises:
            DataFormatError: a day has no rows.
        """
        check_days(self._source.path, self._days.names, statistics)

    def scatter(
        self,
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        vocabulary: VocabularyStage,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
        part: LogPart | None = None,
    ) -> Scatter[Any, Any, Any]:
        """Return the first stage of a run; see ``Scatter``."""
        assert isinstance(vocabulary, RowVocabulary)
        return RowScatter(
            self._source,
            self._days,
            self._row_bytes,
            options,
            state,
            statistics,
            vocabulary,
            engine,
            folder,
            progress,
            part,
        )


def most_workers(options: PreprocessOptions) -> int:
    """Return the number of workers whose chunks fit the memory budget: two chunks each, and at least one worker."""
    columns = options.columns_of_logs
    row_bytes = 3 * columns.record_bytes + _RAW_BYTES * columns.record_ints
    # Strings and lists are held twice: as read and as converted.
    long_bytes = 2 * CHUNK_BYTES if any(has_long_values(column) for column in columns.sparse) else 0
    return max(1, options.memory_bytes // (2 * (chunk_rows(columns) * row_bytes + long_bytes)))
