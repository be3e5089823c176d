"""One run from raw logs to days in TorchRec's format: read, number column by column, write, shuffle."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import accumulate
from typing import Any

import numpy as np

from dlrm_pl.data.formats.dataset_description import REJECTED
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.stated import DESCRIPTION_NAME, FORMAT
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder, State
from dlrm_pl.data.preprocessing.ending import check_rows
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.logs.days import Day, sampled_line_bytes, text_bytes
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.plan import allow_files, require_disk
from dlrm_pl.data.preprocessing.statistics import log_statistics
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.statistics.report import data_report
from dlrm_pl.data.preprocessing.torchrec.column_files import raw_name
from dlrm_pl.data.preprocessing.torchrec.day_scatter import DayScatter
from dlrm_pl.data.preprocessing.torchrec.day_writer import DayWriter
from dlrm_pl.data.preprocessing.torchrec.numbering import number_column
from dlrm_pl.data.preprocessing.torchrec.numpy_order import places_in_order
from dlrm_pl.data.preprocessing.torchrec.row_columns import RowColumns, ids_name
from dlrm_pl.data.preprocessing.torchrec.shuffle import RowBuckets
from dlrm_pl.files.complete_io import sync_path

logger = logging.getLogger(__name__)


class DaysRun:
    """One call of ``preprocess --flavor torchrec``, while the caller holds the lock on the output.

    A killed run resumes at its last checkpoint: within the logs, or at a column that is not yet numbered. The steps
    after the numbering start over.

    Args:
        days: logs of each day, in order.
        options: options of the run.
        key: options and inputs of the run, as JSON values.
        checkpoint: folder of the unfinished run.
        progress: called with the stage, the share of it that is done, and the number of rows since the last call.
    """

    def __init__(
        self,
        days: Sequence[Day],
        options: PreprocessOptions,
        key: dict[str, Any],
        checkpoint: CheckpointFolder,
        progress: Callable[[str, float, int], None],
    ) -> None:
        self._days = days
        self._options = options
        self._columns = options.columns_of_logs
        self._checkpoint = checkpoint
        self._progress = progress
        self._engine = engine()
        self._statistics = LogStatistics.nothing(self._columns, len(days))
        self._text_bytes = sum(map(text_bytes, days))
        self._state = self._resumed(key)

    def make(self) -> DatasetFolder:
        """Return the finished folder, still under its temporary name."""
        if self._state.phase == "scatter":
            self._scatter()
        self._number()
        self._write()
        return self._describe()

    def _resumed(self, key: dict[str, Any]) -> State:
        state = self._checkpoint.load_for(key)
        already = 0 if state is None else self._checkpoint.size_bytes()
        rows = self._text_bytes / sampled_line_bytes(self._days)
        dense, sparse = self._columns.num_dense, self._columns.num_sparse
        columns, output = 4 * (1 + dense + sparse), 4 * (1 + dense + 2 * sparse)
        buckets = RowBuckets.row_bytes(dense, sparse) + 8 if self._options.randomize == "total" else 0
        peak, final = int(rows * (columns + output + buckets)), int(rows * output)
        require_disk(peak, final, self._checkpoint.path.parent, already)
        if state is None:
            self._checkpoint.start()
            return State(key=key, buckets=[])
        self._checkpoint.resume(state)
        with self._checkpoint.reading():
            self._statistics = log_statistics.load(self._statistics_path(state), self._columns)
        logger.info("resuming an interrupted run: %s rows were read", f"{state.read_rows:,}")
        return state

    def _statistics_path(self, state: State) -> Any:
        return self._checkpoint.path / f"statistics_{state.generation}.npz"

    def _save_checkpoint(self) -> None:
        """Save the counts, so that a killed run can resume from here; the rows are on the disk."""
        old = self._statistics_path(self._state)
        self._state.generation += 1
        log_statistics.save(self._statistics, self._statistics_path(self._state))
        sync_path(self._statistics_path(self._state))
        self._checkpoint.commit(self._state)
        old.unlink(missing_ok=True)

    def _scatter(self) -> None:
        total, done = max(1, self._text_bytes), 0

        def advance(rows: int, size: int) -> None:
            nonlocal done
            done += size
            self._progress("reading", min(1.0, done / total), rows)

        stage = DayScatter(
            self._days, self._options, self._state, self._statistics, self._engine, self._checkpoint.path, advance
        )
        stage.run(self._save_checkpoint)
        check_rows(self._statistics, lambda day: str(self._days[day].path))
        self._state.phase = "merge"
        for name in self._state.file_bytes:
            sync_path(self._checkpoint.path / name)
        self._save_checkpoint()

    def _number(self) -> None:
        """Number the values of each column; a resumed run keeps the finished columns."""
        state, folder = self._state, self._checkpoint.path
        for table in range(state.merged, self._columns.num_sparse):
            raw, ids = folder / raw_name(table), folder / ids_name(table)
            # A growing table briefly needs twice its memory.
            memory = self._options.memory_bytes // 2
            size = number_column(raw, ids, self._engine, min_count=self._options.min_count, memory_bytes=memory)
            sync_path(ids)
            state.table_sizes.append(size)
            state.merged = table + 1
            state.file_bytes[ids.name] = state.file_bytes.pop(raw.name)
            self._checkpoint.commit(state)
            raw.unlink()
            self._progress("numbering", state.merged / self._columns.num_sparse, 0)

    @property
    def _rows(self) -> tuple[int, ...]:
        return tuple(day.kept for day in self._statistics.days)

    def _write(self) -> None:
        columns, rows, finished = self._columns, self._rows, self._checkpoint.finished
        for path in finished.iterdir():  # Files of a run that was killed at this point.
            path.unlink()
        total, done = sum(rows), 0
        shuffled = self._options.randomize == "total" and len(rows) > 1

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._progress("writing", done / total, 0)

        names = tuple(str(day.path) for day in self._days)
        source = RowColumns(self._checkpoint.path, columns, rows, names)
        for day in range(len(rows) - 1 if shuffled else 0, len(rows)):
            with self._writer(day, np.int64) as writer:
                for block in source.blocks(day):
                    writer.write(block.first, block.dense, block.labels, block.ids)
                    advance(len(block.labels))
        if shuffled:
            self._shuffle(source, rows[:-1], advance)

    def _shuffle(self, source: RowColumns, rows: tuple[int, ...], advance: Callable[[int], None]) -> None:
        """Write all days but the last in the order of NumPy's shuffle."""
        folder, columns, total = self._checkpoint.path, self._columns, sum(rows)
        row_bytes = RowBuckets.row_bytes(columns.num_dense, columns.num_sparse)
        # A bucket is in memory twice while its rows are reordered.
        bucket_rows = max(1, min(total, self._options.memory_bytes // (3 * row_bytes)))
        places = places_in_order(folder, total, self._options.seed, self._engine, self._options.memory_bytes)
        buckets = RowBuckets(
            folder, total, num_dense=columns.num_dense, num_sparse=columns.num_sparse, bucket_rows=bucket_rows
        )
        allow_files(-(-total // bucket_rows))
        with ExitStack() as stack:
            files = buckets.open(stack)
            for day, before in enumerate(accumulate(rows, initial=0)):
                if day == len(rows):
                    break
                for block in source.blocks(day):
                    first = before + block.first
                    buckets.add(files, block, places[first : first + len(block.labels)])
        with ExitStack() as stack:
            writers = [stack.enter_context(self._writer(day, np.int32)) for day in range(len(rows))]
            buckets.write(writers, rows, advance)

    def _writer(self, day: int, id_type: Any) -> DayWriter:
        return DayWriter(
            self._checkpoint.finished,
            day,
            self._rows[day],
            num_dense=self._columns.num_dense,
            num_sparse=self._columns.num_sparse,
            id_type=id_type,
        )

    def _describe(self) -> DatasetFolder:
        finished, state = self._checkpoint.finished, self._state
        rejected = self._checkpoint.path / REJECTED
        if rejected.exists() and rejected.stat().st_size:
            (finished / REJECTED).write_bytes(rejected.read_bytes())
        contents = {
            "format": FORMAT,
            "created_by": "preprocess",
            "table_sizes": state.table_sizes,
            "rows_by_day": list(self._rows),
            "report": data_report(self._statistics, [], state.rejected, 0),
            "preprocess": state.key,
        }
        (finished / DESCRIPTION_NAME).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
        return DatasetFolder.open(finished)
