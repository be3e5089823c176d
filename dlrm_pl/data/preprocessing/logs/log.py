"""Interface of a log for a run, whatever its form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.counting import RowLabels, count_lines, labels_of
from dlrm_pl.data.preprocessing.logs.days import Day, days_of_files
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import Plan, make_plan
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.stage import Scatter
from dlrm_pl.data.preprocessing.scatter.text import TextScatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.tables.hex import HexVocabulary
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage


class Log(Protocol):
    """A log of rows, divided into days."""

    @property
    def files(self) -> list[Path]:
        """Files of the log."""

    @property
    def num_days(self) -> int:
        """Number of days."""

    @property
    def row_noun(self) -> str:
        """Word for a row in messages."""

    @property
    def value_type(self) -> np.dtype[Any]:
        """Type of the values in its tables that are not strings."""

    def name(self, day: int) -> str:
        """Return the name of the log, or of one of its days, for messages."""

    def plan(self, options: PreprocessOptions, engine: Engine) -> Plan:
        """Estimate the sizes and the time of a run."""

    def vocabulary(self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine) -> VocabularyStage:
        """Return the tables that number its categories."""

    def vocabulary_of_part(
        self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine, file: int
    ) -> VocabularyStage:
        """Return the tables that number the categories of one file, to be merged with those of the other files."""

    def is_last_day(self, file: int) -> bool:
        """Return whether all rows of a file belong to the last day."""

    def count_rows(self, file: int, progress: Callable[[int], None]) -> int | None:
        """Count the rows of a file without parsing them; None if that is impossible.

        Unusable rows are counted as well.
        """

    def labels(
        self, file: int, options: PreprocessOptions, engine: Engine, progress: Callable[[int], None]
    ) -> RowLabels:
        """Parse a file for the labels and days of its usable rows."""

    def start_of_part(self, part: LogPart, state: State) -> None:
        """Make a state start at a part."""

    def check_days(self, statistics: LogStatistics) -> None:
        """Check that each day has rows, after all of them have been counted.

        Raises:
            DataFormatError: a day has no rows.
        """

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


class TextLog:
    """A raw log: lines of tab-separated fields.

    Args:
        days: logs of each day, in order.
    """

    def __init__(self, days: Sequence[Day]) -> None:
        self._days = days

    @property
    def files(self) -> list[Path]:
        """Files of the log."""
        return [day.path for day in self._days]

    @property
    def num_days(self) -> int:
        """Number of days."""
        return len(self._days)

    def with_file(self, path: Path, copy: Path) -> TextLog:
        """Return the log with a copy in place of one of its files."""
        return TextLog([replace(day, path=copy) if day.path == path else day for day in self._days])

    @property
    def row_noun(self) -> str:
        """Word for a row in messages."""
        return "line"

    @property
    def value_type(self) -> np.dtype[np.uint32]:
        """Type of the values in its tables that are not strings."""
        return np.dtype(np.uint32)

    def name(self, day: int) -> str:
        """Return the path of a day's log."""
        return str(self._days[day].path)

    def plan(self, options: PreprocessOptions, engine: Engine) -> Plan:
        """Estimate the sizes and the time of a run."""
        return make_plan(self._days, options, engine)

    def vocabulary(self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine) -> VocabularyStage:
        """Return the tables that number its categories."""
        return HexVocabulary(options.columns_of_logs, options, given, engine)

    def vocabulary_of_part(
        self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine, file: int
    ) -> VocabularyStage:
        """Return the tables that number the categories of one file, to be merged with those of the other files."""
        if given is not None or options.vocabulary == "reference" or not self.is_last_day(file):
            return self.vocabulary(options, given, engine)
        # The values of the training days are not known in this task.
        stage = HexVocabulary(
            options.columns_of_logs, replace(options, vocabulary="reference", min_count=1), None, engine
        )
        stage.tables_of_last_day = stage.tables
        return stage

    def is_last_day(self, file: int) -> bool:
        """Return whether all rows of a file belong to the last day."""
        return days_of_files(self._days)[file] == range(self.num_days - 1, self.num_days)

    def count_rows(self, file: int, progress: Callable[[int], None]) -> int | None:
        """Count the rows of a file without parsing them; None if that is impossible.

        Unusable rows are counted as well.
        """
        days = days_of_files(self._days)[file]
        return count_lines(self._days[days.start], progress) if len(days) == 1 else None

    def labels(
        self, file: int, options: PreprocessOptions, engine: Engine, progress: Callable[[int], None]
    ) -> RowLabels:
        """Parse a file for the labels and days of its usable rows."""
        return labels_of(self._days, days_of_files(self._days)[file], options, engine, progress)

    def start_of_part(self, part: LogPart, state: State) -> None:
        """Make a state start at a part."""
        state.day = days_of_files(self._days)[part.file].start

    def check_days(self, statistics: LogStatistics) -> None:
        """Check nothing: a day without rows is found while it is read."""

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
        assert isinstance(vocabulary, HexVocabulary)
        return TextScatter(self._days, options, state, statistics, vocabulary, engine, folder, progress, part)
