"""Raw click logs -> a dataset folder, equal to upstream's, at any size: bounded, parallel and restartable.

The rows are read once. Each is parsed, its categories numbered by first appearance, and written to the bucket that a
64-bit key of its number belongs to; then each bucket is sorted by key and appended. So the order is a uniform shuffle
that depends on the seed alone, and not on threads, memory or interruptions. The last day keeps its order.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dlrm_pl.data.formats.binary_format import SPLITS, Split, split_file_name
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.formats.dataset_folder import REJECTED, DatasetFolder, describe, recognize_dataset
from dlrm_pl.data.preprocessing import statistics, vocabulary_stage
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, State, differences
from dlrm_pl.data.preprocessing.days import find_days, identity
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.merge import Merge
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import allow_files, make_plan, require_disk
from dlrm_pl.data.preprocessing.report import data_report, report_lines, warn_of_classes
from dlrm_pl.data.preprocessing.scatter.text import TextScatter
from dlrm_pl.data.preprocessing.statistics import LogStatistics
from dlrm_pl.data.preprocessing.upstream.convert import UpstreamConversion
from dlrm_pl.data.preprocessing.upstream.find import find_upstream_files
from dlrm_pl.data.preprocessing.vocabulary_stage import VocabularyStage
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError, DataFormatError, DLRMError, OutputError
from dlrm_pl.files.atomic import writing
from dlrm_pl.files.complete_io import sync_path
from dlrm_pl.files.destinations import resolved
from dlrm_pl.files.locks import folder_lock
from dlrm_pl.files.replacement import PlannedOutput
from dlrm_pl.files.sizes import format_bytes

log = logging.getLogger(__name__)

Progress = Callable[[str, float, int], None]
"""Called with the name of the stage, the share of it that is done, and the rows since the last call."""


@dataclass(frozen=True)
class PreprocessReport:
    """Summary of a ``preprocess`` run; ``str()`` gives it as text.

    Attributes:
        folder: the dataset that was made.
        rows_by_day: rows kept of each day; empty when the input was not divided into days.
        seconds: duration of this run; None when the dataset existed already.
        resumed: whether an earlier, interrupted run had done a part of the work.

    Example:
        >>> import tempfile
        >>> import dlrm_pl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = dlrm_pl.synthesize(f"{folder}/logs", rows=3000, days=3, max_table_size=50, format="raw")
        ...     report = dlrm_pl.preprocess(f"{folder}/logs/day", f"{folder}/clicks")
        >>> report.rows_by_day, report.folder.splits["test"].records
        ((1000, 1000, 1000), 500)
    """

    folder: DatasetFolder
    rows_by_day: tuple[int, ...]
    seconds: float | None
    resumed: bool = False

    def __str__(self) -> str:
        """The rows, tables and data report of the dataset, as text."""
        rows = sum(split.records for split in self.folder.splits.values())
        days = f" of {len(self.rows_by_day)} days" if self.rows_by_day else ""
        speed = "" if self.seconds is None or self.resumed else f", {rows / self.seconds:,.0f} rows/s"
        lines = [f"{self.folder.path}: {rows:,} rows{days}{speed}"]
        if self.seconds is None:
            lines = [f"{self.folder.path}: is complete: the same logs and options made it earlier"]
        for name, split in self.folder.splits.items():
            clicks = split.positives or 0
            lines.append(f"  {name:<6}{split.records:>14,} rows, {clicks:,} clicks ({clicks / split.records:.3%})")
        sizes = self.folder.table_sizes
        lines.append(f"  tables {len(sizes)}, {sum(sizes):,} rows: {' '.join(f'{size:,}' for size in sizes)}")
        report = report_lines(self.folder.report) if self.folder.report else []
        return "\n".join([*lines, *(f"  {line}" for line in report)])


def preprocess(
    raw: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: PreprocessOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PreprocessReport:
    """Turn raw click logs into a dataset folder, or resume an interrupted run of the same command.

    Categories are numbered by first appearance over all days in order, including the last, as upstream
    (facebookresearch/dlrm) does, unless the options say otherwise. All days but the last become train; the first half
    of the last day becomes test (with one row more if odd), the second half val. With ``vocabulary_from`` one day is
    enough, and there is no train.

    Args:
        raw: with layout ``terabyte``, the common beginning of the day files' names (``logs/day`` for ``logs/day_0``,
            ...); with ``kaggle``, one file. Upstream's preprocessed files (.npz or .bin) are converted, in their order.
        output: folder to write; it appears when it is complete.
        options: how to preprocess; the defaults when None.
        overwrite: replace an existing dataset that was made from other logs or with other options.
        progress: called from time to time with the stage, its share done, and the rows since the last call.

    Returns:
        What was made.

    Raises:
        ConfigurationError: options contradict each other or the vocabulary.
        DataFormatError: a day is missing or empty, the last has fewer than two rows, or a row cannot be parsed.
        OutputError: the folder is in use, not writable, or holds something else, or the disk is too small.

    Example:
        >>> import tempfile
        >>> from dlrm_pl import PreprocessOptions, preprocess, synthesize
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     logs = synthesize(f"{folder}/logs", rows=1000, days=4, max_table_size=100, format="raw")
        ...     report = preprocess(f"{folder}/logs/day", f"{folder}/clicks", PreprocessOptions(workers=1))
        >>> report.rows_by_day
        (250, 250, 250, 250)
    """
    check_arguments(preprocess, locals())
    raw, output = Path(raw).expanduser(), Path(output).expanduser()
    options = options or PreprocessOptions()
    progress = progress or (lambda stage, share, rows: None)
    source = find_upstream_files(raw, options)
    options = replace(options, randomize=options.randomize or ("total" if source is None else "none"))
    asked, options = options.workers, options.within_memory()
    if options.workers < asked:
        log.warning(
            "%s workers instead of %s: --memory %s is not enough for more",
            options.workers,
            asked,
            format_bytes(options.memory_bytes),
        )
    if options.vocabulary_from is not None:
        options = _with_cap_of(options, DatasetFolder.open(options.vocabulary_from, rows=False))
    days = [] if source else find_days(raw, options.layout, options.days, options.least_days)
    files = source.files if source else [day.path for day in days]
    key = json.loads(json.dumps({"options": options.key(), "inputs": identity(files)}))
    named, output = output, resolved(output)
    if _is_finished(output, key):
        if CheckpointFolder(output).path.exists():  # Killed between its last two steps.
            with folder_lock(output):
                CheckpointFolder(output).remove()
        folder = DatasetFolder.open(named)
        folder.check_samples()
        return _report(folder, None)
    planned = PlannedOutput("preprocess", key, recognize_dataset, overwrite, _changes)
    with writing(named, planned):
        began = time.perf_counter()
        checkpoint = CheckpointFolder(output)
        unfinished = checkpoint.load()
        resumed = unfinished is not None and unfinished.key == key
        if source is None:
            run: _Run | UpstreamConversion = _Run(days, options, key, checkpoint, progress)
        else:
            run = UpstreamConversion(source, options, key, checkpoint, progress)
        try:
            run.make()
            checkpoint.publish(output)
            return _report(DatasetFolder.open(named), time.perf_counter() - began, resumed)
        except DLRMError:
            checkpoint.remove()  # A changed log or other options would start over anyway.
            raise
        except BaseException as error:
            kept = _keep(checkpoint)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutputError(f"{output}: the disk is full. {kept} Free some space first.") from error
            log.warning("%s", kept)
            raise


def _keep(checkpoint: CheckpointFolder) -> str:
    """Keep a checkpoint that can be resumed and delete one that cannot; returns a sentence that says which."""
    if checkpoint.load() is None:
        checkpoint.remove()
        return "Nothing is kept: the run had not come to its first checkpoint."
    return f"{checkpoint.path} keeps {format_bytes(checkpoint.size_bytes())}; run the same command to resume."


class _Run:
    """One call of ``preprocess`` on raw logs, while the caller holds the lock of the output."""

    def __init__(
        self,
        days: list[Any],
        options: PreprocessOptions,
        key: dict[str, Any],
        checkpoint: CheckpointFolder,
        progress: Progress,
    ) -> None:
        self._days = days
        self._options = options
        self._checkpoint = checkpoint
        self._progress = progress
        self._engine = engine()
        self._vocabulary = VocabularyStage(options.columns, options, self._engine)
        self._statistics = LogStatistics.nothing(options.columns, len(days))
        self._plan = make_plan(days, options, self._engine)
        log.info("%s", self._plan)
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
            self._statistics = statistics.load(
                self._checkpoint.path / _statistics_name(state.generation), self._options.columns
            )
            vocabulary_stage.load_tables(
                self._vocabulary, self._checkpoint.path, state.table_sizes, _counts_name(state.generation)
            )
        where = f"day {state.day}" if state.phase == "scatter" else f"bucket {state.merged} of {sum(state.buckets)}"
        log.info("resuming an interrupted run at %s: %s rows were read", where, f"{state.read_rows:,}")
        return state

    def _save_checkpoint(self) -> None:
        """Save the vocabulary and the statistics, so that a killed run can resume from here."""
        state, folder = self._state, self._checkpoint.path
        old, state.generation = state.generation, state.generation + 1
        counts, numbers = folder / _counts_name(state.generation), folder / _statistics_name(state.generation)
        state.table_sizes = vocabulary_stage.save_tables(self._vocabulary, folder, self._saved_sizes, counts.name)
        statistics.save(self._statistics, numbers)
        for path in (counts, numbers, *folder.glob("values_*.u4")):
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

        stage = TextScatter(
            days=self._days,
            options=self._options,
            state=state,
            statistics=self._statistics,
            vocabulary=self._vocabulary,
            engine=self._engine,
            folder=self._checkpoint.path,
            progress=advance,
        )
        stage.run(self._save_checkpoint)
        last = self._statistics.days[-1].kept
        if last < 2:
            path = self._days[-1].path
            raise DataFormatError(
                f"{path}: the last day has {last} row{'s'[: last != 1]}; at least 2 are needed to split it into "
                "test and val."
            )
        if len(self._days) > 1 and not sum(day.kept for day in self._statistics.days[:-1]):
            raise DataFormatError(
                f"{self._days[0].path}: subsample_rate left no training row. Lower it, or take more rows."
            )
        state.phase = "merge"
        if state.generation:  # Small runs have no checkpoint: starting over takes less time than saving one.
            for name in state.file_bytes:
                sync_path(self._checkpoint.path / name)
            self._save_checkpoint()

    def _merge(self) -> DatasetFolder:
        total = max(1, sum(day.kept for day in self._statistics.days))
        done = self._state.train_bytes // self._options.columns.record_bytes

        lock = threading.Lock()

        def advance(rows: int) -> None:
            nonlocal done
            with lock:
                done += rows
                self._progress("writing", done / total, 0)

        mappings, finished = self._vocabulary.mappings(), self._checkpoint.finished
        merge = Merge(self._options, self._state, mappings, self._engine, self._checkpoint, advance)
        made: dict[str, Any] = {}

        def make(name: str, task: Callable[[], Any]) -> None:
            made[name] = task()

        # Workers that have no more of train to do take these. The vocabulary is first, since it takes longest.
        others = {
            "dictionaries": lambda: self._vocabulary.save(finished),
            "test": lambda: merge.half("test"),
            "val": lambda: merge.half("val"),
            "report": self._report,
        }
        made["train"] = merge.train([partial(make, name, task) for name, task in others.items()])
        if len(self._days) == 1:  # With the ids of another dataset there is nothing to train on.
            del made["train"]
            for path in (train := finished / split_file_name("train"), digests_path(train)):
                path.unlink(missing_ok=True)
        rejected = self._checkpoint.path / REJECTED
        if rejected.stat().st_size:
            rejected.replace(finished / REJECTED)
        splits: dict[Split, SplitInfo] = {split: made[split] for split in SPLITS if split in made}
        made["report"]["warnings"] += warn_of_classes(
            (split, info.records, info.positives or 0) for split, info in splits.items()
        )
        return describe(
            finished,
            max_ind_range=self._options.modulus or -1,
            created_by="preprocess",
            splits=splits,
            known_dictionaries=made["dictionaries"],
            extra={"report": made["report"], "preprocess": self._state.key},
        )

    def _report(self) -> dict[str, Any]:
        summaries = self._vocabulary.summaries()
        return data_report(self._statistics, summaries, self._state.rejected, self._state.unknown_values)


def _is_finished(output: Path, key: dict[str, Any]) -> bool:
    """Return whether a folder was made from the same logs with the same options."""
    found = recognize_dataset(output)
    return found is not None and found.made_by == "preprocess" and found.settings == key


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Like ``differences``, but of a file that may have been edited: empty where it makes no sense."""
    try:
        return differences(old, new)
    except (AttributeError, KeyError, TypeError):
        return []


def _report(folder: DatasetFolder, seconds: float | None, resumed: bool = False) -> PreprocessReport:
    days = folder.report.get("days", ())
    return PreprocessReport(folder, tuple(day["kept"] for day in days), seconds, resumed)


def _with_cap_of(options: PreprocessOptions, folder: DatasetFolder) -> PreprocessOptions:
    """Return the options with the ``max_ind_range`` of the dataset whose vocabulary is used."""
    default = PreprocessOptions.__dataclass_fields__["max_ind_range"].default
    if options.max_ind_range not in (default, folder.max_ind_range):
        raise ConfigurationError(
            f"max_ind_range={options.max_ind_range}, but the vocabulary of {folder.path} was made with "
            f"{folder.max_ind_range}: leave --max_ind_range out."
        )
    return replace(options, max_ind_range=folder.max_ind_range)


def _counts_name(generation: int) -> str:
    return f"counts_{generation}.u4"


def _statistics_name(generation: int) -> str:
    return f"statistics_{generation}.npz"
