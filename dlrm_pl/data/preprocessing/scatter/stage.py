"""First stage of a run, for logs of any form: several threads scatter chunks of rows into buckets."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Generic

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, row_keys
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.row_files import RowFiles
from dlrm_pl.data.preprocessing.scatter.schedule import Claimed, Memory, Read, Schedule
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.threads import run_threads

_SUBSAMPLE_SEED = 0x5EED  # Arbitrary. The order of the rows uses the seed itself, so the two are independent.


def kept_by_subsample(
    options: PreprocessOptions, clicks: npt.NDArray[np.bool_], first_row: int
) -> npt.NDArray[np.bool_]:
    """Return which rows the subsample keeps; each row is drawn by its number only.

    Args:
        options: options of the run.
        clicks: whether each row is a click; all clicks are kept.
        first_row: number of the first row, counted over all days.
    """
    draw = row_keys(options.seed ^ _SUBSAMPLE_SEED, first_row, len(clicks)) >> np.uint64(11)
    dropped = draw < np.uint64(int(options.subsample_rate * (1 << 53)))
    kept: npt.NDArray[np.bool_] = clicks | ~dropped
    return kept


class Scatter(ABC, Generic[Claimed, Read, Memory]):
    """First stage of a run: read the logs, or the rest of them after an interruption, into buckets.

    Args:
        columns: columns of the log.
        num_days: number of days.
        options: options of the run.
        state: state to start from; updated.
        statistics: counts by day; updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        progress: called with the number of rows read and their size in the log, in bytes or another measure.
        part: file to read; None for all of them.
    """

    def __init__(
        self,
        columns: Columns,
        num_days: int,
        options: PreprocessOptions,
        state: State,
        statistics: LogStatistics,
        engine: Engine,
        folder: Path,
        progress: Callable[[int, int], None],
        part: LogPart | None = None,
    ) -> None:
        self._columns = columns
        self._options = options
        self._state = state
        self._statistics = statistics
        self._engine = engine
        self._progress = progress
        kept_before = part.kept_before if part else 0
        self._files = RowFiles(columns, num_days, options, state, engine, folder, kept_before)
        self._counting = threading.Lock()
        self._schedule: Schedule[Claimed, Read, Memory] = Schedule(self, options.chunks_in_memory)
        self._left_bytes = 0  # Bytes until the next checkpoint.

    def run(self, save_checkpoint: Callable[[], None]) -> None:
        """Read all days.

        Args:
            save_checkpoint: called when all rows read so far are in the files, and the files are on the disk.

        Raises:
            DataFormatError: a row cannot be used, more rows than allowed cannot be used, or a file is missing or
                corrupt.
        """
        with ExitStack() as stack:
            self._files.open(stack)
            try:
                while not self._at_end():
                    self._left_bytes = self._options.checkpoint_bytes
                    self._schedule.start()
                    workers = self._options.workers
                    run_threads([self._schedule.work] * workers, workers, self._stop)
                    # Each thread has made its own counts of what does not depend on the order of the chunks.
                    for memory in self._schedule.memories:
                        self._add_counts(memory)
                    self._note_place()
                    if not self._at_end():
                        self._files.sync()
                        self._files.note_sizes()
                        save_checkpoint()
            finally:
                self._close()
                self._schedule.free()
            self._check_end()
            self._files.note_sizes()

    @abstractmethod
    def memory(self) -> Memory:
        """Return memory for a chunk; see ``Steps``, also for the other methods."""

    @abstractmethod
    def claim(self, memory: Memory) -> Claimed | None:
        """Claim the next chunk; None at the end of the logs, or if a checkpoint is due."""

    @abstractmethod
    def read(self, claimed: Claimed, memory: Memory) -> Read:
        """Read the rows of a chunk."""

    @abstractmethod
    def count(self, read: Read, memory: Memory) -> None:
        """Count the rows of a chunk, and reject unusable ones.

        Raises:
            DataFormatError: a row cannot be used, or more rows than allowed cannot be used.
        """

    @abstractmethod
    def number(self, read: Read, memory: Memory) -> None:
        """Number the categories of a chunk, and write its records."""

    @abstractmethod
    def _at_end(self) -> bool:
        """Return whether all chunks were claimed."""

    @abstractmethod
    def _add_counts(self, memory: Memory) -> None:
        """Add the counts that a memory holds to the statistics, and begin new ones."""

    @abstractmethod
    def _note_place(self) -> None:
        """Note in the state where reading continues."""

    @abstractmethod
    def _check_end(self) -> None:
        """Check what can only be known after all rows have been read."""

    @abstractmethod
    def _close(self) -> None:
        """Close the logs."""

    def _stop(self) -> None:
        """Wake the threads that wait for another one, which failed."""
        self._schedule.stop()

    def _kept(self, label: npt.NDArray[np.int32], first_row: int) -> npt.NDArray[np.int64]:
        """Return which rows the subsample keeps: it drops a share of the non-clicks, each drawn by its number only."""
        return np.flatnonzero(kept_by_subsample(self._options, label != 0, first_row))
