"""One run over a log of rows: scatter them into buckets, then write the splits and their descriptions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_description import REJECTED
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, State
from dlrm_pl.data.preprocessing.ending import (
    check_rows,
    check_values,
    columns_of_dataset,
    describe_dataset,
    report_of,
)
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.last_changes import LastChanges
from dlrm_pl.data.preprocessing.logs.log import Log
from dlrm_pl.data.preprocessing.merge import Merge
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import allow_files, require_disk
from dlrm_pl.data.preprocessing.statistics import log_statistics
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.tables.files import VALUES_PATTERN, load_tables, save_tables
from dlrm_pl.files.complete_io import sync_path

logger = logging.getLogger(__name__)


class LogRun:
    """One call of ``preprocess`` on logs of rows, while the caller holds the lock on the output.

    Args:
        log: the log that the rows come from.
        options: options of the run.
        key: options and inputs of the run, as JSON values.
        checkpoint: folder of the unfinished run.
        progress: called with the stage, the share of it that is done, and the number of rows since the last call.
    """

    def __init__(
        self,
        log: Log,
        options: PreprocessOptions,
        key: dict[str, Any],
        checkpoint: CheckpointFolder,
        progress: Callable[[str, float, int], None],
    ) -> None:
        self._log = log
        self._options = options
        self._checkpoint = checkpoint
        self._progress = progress
        self._engine = engine()
        given = None
        if options.vocabulary_from is not None:
            given = DatasetFolder.open(options.vocabulary_from, rows=False).vocabulary()
        self._vocabulary = log.vocabulary(options, given, self._engine)
        self._statistics = LogStatistics.nothing(options.columns_of_logs, log.num_days)
        self._plan = log.plan(options, self._engine)
        logger.info("%s", self._plan)
        self._state = self._resumed(key)
        self._saved_sizes = self._state.table_sizes or [0] * len(self._vocabulary.tables)

    def make(self) -> DatasetFolder:
        """Return the finished folder, still under its temporary name."""
        if self._state.phase == "scatter":
            self._scatter()
        return self._merge()

    def _resumed(self, key: dict[str, Any]) -> State:
        state = self._checkpoint.load_for(key)
        already = 0 if state is None else self._checkpoint.size_bytes()
        require_disk(self._plan.disk_bytes, self._plan.output_bytes, self._checkpoint.path.parent, already)
        if state is None:
            self._checkpoint.start()
            return State(key=key, buckets=self._plan.buckets)
        self._checkpoint.resume(state)
        allow_files(sum(state.buckets))
        with self._checkpoint.reading():
            self._statistics = log_statistics.load(
                self._checkpoint.path / _statistics_name(state.generation), self._options.columns_of_logs
            )
            counts = _counts_name(state.generation)
            load_tables(self._vocabulary.tables, self._checkpoint.path, state.table_sizes, counts)
        where = f"day {state.day}" if state.phase == "scatter" else f"bucket {state.merged} of {sum(state.buckets)}"
        logger.info("resuming an interrupted run at %s: %s rows were read", where, f"{state.read_rows:,}")
        return state

    def _save_checkpoint(self) -> None:
        """Save the vocabulary and the statistics, so that a killed run can resume from here."""
        state, folder = self._state, self._checkpoint.path
        old, state.generation = state.generation, state.generation + 1
        counts, numbers = folder / _counts_name(state.generation), folder / _statistics_name(state.generation)
        state.table_sizes = save_tables(self._vocabulary.tables, folder, self._saved_sizes, counts.name)
        log_statistics.save(self._statistics, numbers)
        for path in (counts, numbers, *folder.glob(VALUES_PATTERN)):
            sync_path(path)
        self._checkpoint.commit(state)
        self._saved_sizes = state.table_sizes
        for name in (_counts_name(old), _statistics_name(old)):
            (folder / name).unlink(missing_ok=True)

    def _scatter(self) -> None:
        state, total = self._state, max(1, self._plan.text_bytes)
        done = sum(day.rows for day in self._statistics.days) / max(1, self._plan.rows) * total

        def advance(rows: int, size: int) -> None:
            nonlocal done
            done += size
            self._progress("reading", min(1.0, done / total), rows)

        stage = self._log.scatter(
            options=self._options,
            state=state,
            statistics=self._statistics,
            vocabulary=self._vocabulary,
            engine=self._engine,
            folder=self._checkpoint.path,
            progress=advance,
        )
        stage.run(self._save_checkpoint)
        check_rows(self._statistics, self._log.name)
        check_values(self._vocabulary.without_values(), self._log.name(0))
        state.phase = "merge"
        if state.generation:  # Small runs have no checkpoint: starting over takes less time than saving one.
            for name in state.file_bytes:
                sync_path(self._checkpoint.path / name)
            self._save_checkpoint()

    def _merge(self) -> DatasetFolder:
        total = max(1, sum(day.kept for day in self._statistics.days))
        done = self._state.train_bytes // self._options.columns_of_logs.record_bytes

        lock = threading.Lock()

        def advance(rows: int) -> None:
            nonlocal done
            with lock:
                done += rows
                self._progress("writing", done / total, 0)

        columns = columns_of_dataset(self._options, self._statistics)
        changes = LastChanges(columns, self._vocabulary.mappings(), self._engine)
        finished = self._checkpoint.finished
        merge = Merge(self._options, self._state, changes, self._engine, self._checkpoint, advance)
        made: dict[str, Any] = {}

        def make(name: str, task: Callable[[], Any]) -> None:
            made[name] = task()

        # Workers that have finished their share of train do these tasks. The vocabulary comes first, since it takes
        # longest.
        others = {
            "dictionaries": lambda: self._vocabulary.save(finished, columns),
            "test": lambda: merge.half("test"),
            "val": lambda: merge.half("val"),
            "report": self._report,
        }
        made["train"] = merge.train([partial(make, name, task) for name, task in others.items()])
        if self._log.num_days == 1:  # Only test and val, with the ids of another dataset.
            del made["train"]
            for path in (train := finished / split_file_name("train"), digests_path(train)):
                path.unlink(missing_ok=True)
        rejected = self._checkpoint.path / REJECTED
        if rejected.stat().st_size:
            rejected.replace(finished / REJECTED)
        return describe_dataset(
            finished, self._options, columns, made, made["dictionaries"], made["report"], self._state.key
        )

    def _report(self) -> dict[str, Any]:
        return report_of(self._options, self._statistics, self._vocabulary.summaries(), self._state)


def _counts_name(generation: int) -> str:
    return f"counts_{generation}.u4"


def _statistics_name(generation: int) -> str:
    return f"statistics_{generation}.npz"
