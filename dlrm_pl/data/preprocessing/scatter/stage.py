"""The first stage of a run, for logs of any form: threads claim chunks of rows in order and process them at once."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, row_keys
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.scatter.part import LogPart
from dlrm_pl.data.preprocessing.scatter.row_files import RowFiles
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.threads import Pipeline, run_threads

# Stages that chunks pass in their order; those of the vocabulary's tables follow.
COUNT_READ, COUNT_KEPT = range(2)
_SUBSAMPLE_SEED = 0x5EED  # Arbitrary; the order uses the seed itself, and is independent.


def kept_by_subsample(
    options: PreprocessOptions, clicks: npt.NDArray[np.bool_], first_row: int
) -> npt.NDArray[np.bool_]:
    """Return which rows the sub-sample keeps, each drawn by its own number alone.

    Args:
        options: options of the run.
        clicks: whether each row is a click; all of these stay.
        first_row: number of the first row over all days.
    """
    draw = row_keys(options.seed ^ _SUBSAMPLE_SEED, first_row, len(clicks)) >> np.uint64(11)
    dropped = draw < np.uint64(int(options.subsample_rate * (1 << 53)))
    kept: npt.NDArray[np.bool_] = clicks | ~dropped
    return kept


class Scatter(ABC):
    """The first stage of a run: read the logs, or the rest of them after an interruption, into buckets.

    Args:
        columns: columns of the log.
        num_days: number of days.
        options: options of the run.
        state: where to start; updated.
        statistics: counts by day; updated.
        engine: native code or its NumPy fallback.
        folder: folder of the unfinished run.
        progress: called with the rows that were read and the bytes, or another measure, that they were of the log.
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
        self._reading = threading.Lock()
        self._counting = threading.Lock()
        self._pipeline = Pipeline(num_stages=2)
        # Only as many threads run as there are workers. While a chunk waits for the one before it, whose thread the
        # system has suspended for another program, the next chunk runs; else the slowest thread would set the pace.
        self._running = threading.Semaphore(options.workers)
        self._left_bytes = 0  # Until the next checkpoint.

    def run(self, save_checkpoint: Callable[[], None]) -> None:
        """Read all days.

        Args:
            save_checkpoint: called when all rows read so far are in the files, and these are on the disk.

        Raises:
            DataFormatError: a row, or more rows than allowed, cannot be used, or a file is missing or corrupt.
        """
        with ExitStack() as stack:
            self._files.open(stack)
            try:
                while not self._at_end():
                    self._left_bytes = self._options.checkpoint_bytes
                    threads = self._options.reading_threads
                    run_threads([self._process_chunks] * threads, threads, self._stop)
                    self._note_place()
                    if not self._at_end():
                        self._files.sync()
                        self._files.note_sizes()
                        save_checkpoint()
            finally:
                self._close()
            self._check_end()
            self._files.note_sizes()

    @abstractmethod
    def _at_end(self) -> bool:
        """Return whether all chunks were claimed."""

    @abstractmethod
    def _process_chunks(self) -> None:
        """Process chunk after chunk in a thread, until a checkpoint is due or the logs end."""

    @abstractmethod
    def _note_place(self) -> None:
        """Note in the state where reading continues."""

    @abstractmethod
    def _check_end(self) -> None:
        """Check what is known when all rows were read."""

    @abstractmethod
    def _close(self) -> None:
        """Close the logs."""

    def _stop(self) -> None:
        """Wake the threads that wait for another one, which failed."""
        self._pipeline.stop()

    def _kept(self, label: npt.NDArray[np.int32], first_row: int) -> npt.NDArray[np.int64]:
        """Return which rows the sub-sample keeps: it drops a share of the non-clicks, each by its own number alone."""
        return np.flatnonzero(kept_by_subsample(self._options, label != 0, first_row))
