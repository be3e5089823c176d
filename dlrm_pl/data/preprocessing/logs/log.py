"""What a run needs of a log, whatever its form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine
from dlrm_pl.data.preprocessing.logs.days import Day
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import Plan, make_plan
from dlrm_pl.data.preprocessing.scatter.stage import Scatter
from dlrm_pl.data.preprocessing.scatter.text import TextScatter
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.tables.hex import HexVocabulary
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage


class Log(Protocol):
    """A log of rows, divided into days."""

    @property
    def files(self) -> list[Path]:
        """The files of the log."""

    @property
    def num_days(self) -> int:
        """Number of days."""

    def name(self, day: int) -> str:
        """Return what messages call the log, or a day of it."""

    def plan(self, options: PreprocessOptions, engine: Engine) -> Plan:
        """Estimate the sizes and the time of a run."""

    def vocabulary(self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine) -> VocabularyStage:
        """Return the tables that number its categories."""

    def scatter(
        self,
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        vocabulary: VocabularyStage,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
    ) -> Scatter:
        """Return the first stage of a run; see ``Scatter``."""


class TextLog:
    """A raw log: lines of fields between tabs.

    Args:
        days: logs of each day, in order.
    """

    def __init__(self, days: Sequence[Day]) -> None:
        self._days = days

    @property
    def files(self) -> list[Path]:
        """The files of the log."""
        return [day.path for day in self._days]

    @property
    def num_days(self) -> int:
        """Number of days."""
        return len(self._days)

    def name(self, day: int) -> str:
        """Return the path of a day's log."""
        return str(self._days[day].path)

    def plan(self, options: PreprocessOptions, engine: Engine) -> Plan:
        """Estimate the sizes and the time of a run."""
        return make_plan(self._days, options, engine)

    def vocabulary(self, options: PreprocessOptions, given: Vocabulary | None, engine: Engine) -> VocabularyStage:
        """Return the tables that number its categories."""
        return HexVocabulary(options.columns_of_logs, options, given, engine)

    def scatter(
        self,
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        vocabulary: VocabularyStage,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
    ) -> Scatter:
        """Return the first stage of a run; see ``Scatter``."""
        assert isinstance(vocabulary, HexVocabulary)
        return TextScatter(self._days, options, state, statistics, vocabulary, engine, folder, progress)
