"""A run of ``preprocess`` on a cluster: the order of its tasks, and the use of their results."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.block_checksum import block_bytes, checksum_of
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_description import REJECTED, SplitInfo
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, State
from dlrm_pl.data.preprocessing.cluster.machines import check_machines, check_memory, check_scratch
from dlrm_pl.data.preprocessing.cluster.ranges import groups_of, ranges_bytes, train_ranges
from dlrm_pl.data.preprocessing.cluster.ray_cluster import ray_cluster
from dlrm_pl.data.preprocessing.cluster.reading import read_parts
from dlrm_pl.data.preprocessing.cluster.stages import Progress, Stages, Task
from dlrm_pl.data.preprocessing.cluster.tasks import calls
from dlrm_pl.data.preprocessing.cluster.tasks.ends import DICTIONARIES, LAST_DAY_FOLDER, move_files
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.read import MOMENTS, STATISTICS, PartResult
from dlrm_pl.data.preprocessing.cluster.tasks.results import ATTEMPT, RESULT
from dlrm_pl.data.preprocessing.cluster.tasks.train import finish_train
from dlrm_pl.data.preprocessing.cluster.tasks.values import TableResult
from dlrm_pl.data.preprocessing.cluster.tasks.whole import forget_lock
from dlrm_pl.data.preprocessing.ending import (
    check_rows,
    check_values,
    columns_of_dataset,
    describe_dataset,
    report_of,
)
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.logs.log import Log
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import require_disk
from dlrm_pl.data.preprocessing.scatter.rejected import RejectedRows
from dlrm_pl.data.preprocessing.statistics import log_statistics
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.statistics.moments import Moments
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import DataFormatError, DLRMError
from dlrm_pl.files.remote import RemoteFolder
from dlrm_pl.files.sizes import format_bytes

log = logging.getLogger(__name__)

FORMAT = 1
_STATE = "cluster.json"
_MERGE_VALUES = 4_000_000  # Approximate number of values in the tables that a task merges: about a second of work.


class ClusterRun:
    """One call of ``preprocess`` on a cluster, while the caller holds the lock on the output.

    Args:
        address: address of the cluster.
        rows: source of the rows, with absolute paths.
        options: options of the run.
        key: options and inputs of the run, as JSON values.
        output: folder to make, on a file system that all machines share.
        shown: the paths as the user gave them, by absolute path.
        progress: called with the stage, the share of it that is done, and the number of rows since the last call.
        remote: folder at a URL from which the files of the log are copied; None for a shared file system.
    """

    def __init__(
        self,
        address: str,
        rows: Log,
        options: PreprocessOptions,
        key: dict[str, Any],
        output: Path,
        shown: dict[str, str],
        progress: Progress,
        remote: RemoteFolder | None = None,
    ) -> None:
        self._address = address
        self._log = rows
        self._options = replace(options, vocabulary_from=_absolute(options.vocabulary_from))
        self._key = key
        self._output = output
        self._checkpoint = CheckpointFolder(output)
        self._shown = shown
        self._progress = progress
        self._remote = remote

    @property
    def resumes(self) -> bool:
        """Whether an earlier run of the same command has done part of the work."""
        state = self._saved()
        return state is not None and state["key"] == self._key

    def make(self) -> DatasetFolder:
        """Return the finished folder, still under its temporary name."""
        files = list(dict.fromkeys(self._log.files))
        plan = self._log.plan(self._options, engine())
        log.info("%s", plan)
        resumes = self.resumes
        already = self._checkpoint.size_bytes() if resumes else 0
        require_disk(plan.disk_bytes, plan.output_bytes, self._output.parent, already)
        with ray_cluster(self._address) as cluster:
            seen = check_machines(cluster, self._output, [] if self._remote else files)
            cpus = max(1, min(self._options.workers, *(machine.cpus for machine in seen)))
            options = replace(self._options, workers=cpus)
            check_memory(self._log, plan, seen)
            if self._remote is not None:
                check_scratch(files, self._remote, seen, cpus)
            at_once = sum(machine.cpus // cpus for machine in seen)
            if at_once > 1:  # A range of the output and its buckets exist at the same time until the range is complete.
                more = ranges_bytes(plan.output_bytes, at_once)
                require_disk(plan.disk_bytes + more, plan.output_bytes, self._output.parent, already)
            log.info(
                "cluster: %s machine%s, %s task%s of %s thread%s at a time",
                *(len(seen), "s"[: len(seen) != 1], at_once, "s"[: at_once != 1], cpus, "s"[: cpus != 1]),
            )
            job = Job(
                log=self._log,
                options=options,
                folder=self._checkpoint.path,
                buckets=self._saved()["buckets"] if resumes else plan.buckets,  # type: ignore[index]
                shown=self._shown,
                sizes=[path.stat().st_size for path in files],
                durable=plan.text_bytes >= options.checkpoint_bytes,
                remote=self._remote,
            )
            with Stages(cluster, self._progress) as stages:
                if at_once == 1 and not resumes and self._remote is None:
                    whole = Task("log", calls.whole, (job, self._output, self._key), cpus, plan.text_bytes)
                    stages.run("reading", [whole], rows_of=int)
                    self._progress("writing", 1.0, 0)
                    return DatasetFolder.open(job.finished)
                if not resumes:
                    self._checkpoint.start()
                    state = {"format": FORMAT, "key": self._key, "buckets": plan.buckets}
                    (job.folder / _STATE).write_text(json.dumps(state), encoding="utf-8")
                parts = read_parts(stages, job, cpus, at_once)
                return self._write(stages, job, parts, cpus, at_once)

    def keep(self) -> str:
        """Keep what was finished, or delete the folder if nothing was; returns a sentence that says which."""
        path = self._checkpoint.path
        forget_lock(path)  # The lock of a task that was stopped.
        if self._saved() is None:
            return self._checkpoint.keep()
        for left in path.glob(ATTEMPT):
            shutil.rmtree(left, ignore_errors=True)
        if not any(path.glob(f"*/{RESULT}")):
            self._checkpoint.remove()
            return "Nothing is kept: no task had finished."
        return f"{path} keeps {format_bytes(self._checkpoint.size_bytes())}; run the same command to resume."

    def _saved(self) -> dict[str, Any] | None:
        with suppress(DLRMError):
            state = read_json(self._checkpoint.path / _STATE, DataFormatError, "")
            if isinstance(state, dict) and state.get("format") == FORMAT and {"key", "buckets"} <= state.keys():
                return state
        return None

    def _write(self, stages: Stages, job: Job, parts: Sequence[PartResult], cpus: int, at_once: int) -> DatasetFolder:
        statistics = self._statistics(job, parts)
        state = self._state(job, parts)
        with job.naming_files():
            self._log.check_days(statistics)
            check_rows(statistics, self._log.name)
            self._check_rejected(job, parts)
        columns = columns_of_dataset(job.options, statistics)
        tables = self._merge_tables(stages, job, parts)
        state.unknown_values += sum(table.unknown_values for table in tables.values())

        ranges = train_ranges(job, parts, at_once)
        if ranges:
            with (job.finished / split_file_name("train")).open("ab") as handle:
                handle.truncate(ranges[-1].stop)
        record = columns.record_bytes
        names = {chosen.name: chosen for chosen in ranges}
        last_rows = sum(part.kept_last for part in parts)
        started = [
            Task(DICTIONARIES, calls.dictionaries, (job, columns, tables), cpus=1),
            *(
                Task(
                    name,
                    calls.train,
                    (job, columns, parts, tables, chosen),
                    cpus,
                    (chosen.stop - chosen.start) // record,
                )
                for name, chosen in names.items()
            ),
            Task(LAST_DAY_FOLDER, calls.last_day, (job, columns, parts, tables), 1, last_rows),
        ]
        made = stages.run("writing", started)
        dictionaries = made[DICTIONARIES]
        with job.naming_files():
            check_values(dictionaries.empty, self._log.name(0))
        splits: dict[str, SplitInfo] = {"test": made[LAST_DAY_FOLDER].test, "val": made[LAST_DAY_FOLDER].val}
        if ranges:
            results = [made[chosen.name] for chosen in ranges]
            digests = finish_train(job, columns, ranges, results)
            digests_path(job.finished / split_file_name("train")).write_bytes(digests)
            positives = sum(result.positives for result in results)
            checksum = checksum_of(digests, block_bytes(columns))
            splits["train"] = SplitInfo(ranges[-1].stop // record, positives, checksum)
        for folder in (LAST_DAY_FOLDER, DICTIONARIES):
            move_files(job.folder / folder, job.finished)
        if state.rejected:
            shutil.copyfile(job.folder / REJECTED, job.finished / REJECTED)
        report = report_of(job.options, statistics, dictionaries.summaries, state)
        return describe_dataset(job.finished, job.options, columns, splits, dictionaries.checksums, report, self._key)

    @staticmethod
    def _merge_tables(stages: Stages, job: Job, parts: Sequence[PartResult]) -> dict[int, TableResult]:
        if job.options.vocabulary_from is not None:
            return {}
        sizes = {
            number: sum(part.sizes[number] for part in parts if part.sizes)
            for number, column in enumerate(job.options.columns_of_logs.sparse)
            if column.ids == "vocabulary"
        }
        groups = groups_of(sizes, _MERGE_VALUES)
        merged = stages.run(
            "merging vocabularies",
            [
                Task(f"tables {group}", calls.merge, (job, group, parts), 1, sum(sizes[number] for number in group))
                for group in groups
            ],
        )
        return {result.table: result for group in merged.values() for result in group}

    @staticmethod
    def _statistics(job: Job, parts: Sequence[PartResult]) -> LogStatistics:
        """Return the counts of all days."""
        columns = job.options.columns_of_logs
        whole = LogStatistics.nothing(columns, job.log.num_days)
        for part in parts:
            folder = job.folder / part.name
            log_statistics.add_part(whole, log_statistics.load(folder / STATISTICS, columns))
            for numbers in np.load(folder / MOMENTS):
                whole.moments.add(Moments(numbers))
        return whole

    @staticmethod
    def _state(job: Job, parts: Sequence[PartResult]) -> State:
        """Return the numbers of the whole run that the report needs."""
        state = State(key={}, buckets=job.buckets)
        with (job.folder / REJECTED).open("wb") as rejected:
            for part in parts:
                state.read_rows += part.rows
                state.unknown_values += part.unknown_values
                state.cut_lists += part.cut_lists
                for kind, count in part.rejected.items():
                    state.rejected[kind] = state.rejected.get(kind, 0) + count
                with (job.folder / part.name / REJECTED).open("rb") as more:
                    shutil.copyfileobj(more, rejected)
        return state

    def _check_rejected(self, job: Job, parts: Sequence[PartResult]) -> None:
        """Check the share of rejected rows as one machine does, at the end of each file."""
        state = State(key={}, buckets=[])
        rejected = RejectedRows(job.options, state, _Rejected(job.folder / REJECTED), self._log.row_noun)
        files = list(dict.fromkeys(self._log.files))
        for part in parts:
            state.read_rows += part.rows
            for kind, count in part.rejected.items():
                state.rejected[kind] = state.rejected.get(kind, 0) + count
            rejected.check(files[part.file], at_end=part is parts[-1])


class _Rejected:
    """The file of the rejected rows of all parts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reject(self, row: bytes) -> None:
        raise NotImplementedError

    def rejected(self) -> Path:
        return self._path


def _absolute(path: Any) -> Path | None:
    return None if path is None else Path(path).absolute()
