"""Tasks that write the rest of a dataset: test and val, and the dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.formats.vocabulary import DictionaryChecksums
from dlrm_pl.data.preprocessing.cluster.tasks.job import Job
from dlrm_pl.data.preprocessing.cluster.tasks.read import PartResult
from dlrm_pl.data.preprocessing.cluster.tasks.records import PartRecords, Piece
from dlrm_pl.data.preprocessing.cluster.tasks.results import RESULT, attempt, finished_result, save_result
from dlrm_pl.data.preprocessing.cluster.tasks.values import SavedValues, TableResult
from dlrm_pl.data.preprocessing.io.split_writer import SplitWriter
from dlrm_pl.data.preprocessing.scatter.row_files import LAST_DAY
from dlrm_pl.data.preprocessing.tables.stage import VocabularyStage
from dlrm_pl.data.preprocessing.tables.summary import TableSummary

LAST_DAY_FOLDER, DICTIONARIES = "last_day", "dictionaries"


@dataclass(frozen=True)
class LastDayResult:
    """Halves of the last day."""

    test: SplitInfo
    val: SplitInfo


@dataclass(frozen=True)
class DictionariesResult:
    """Dictionaries of a dataset.

    Attributes:
        checksums: checksums of the dictionaries.
        summaries: statistics of the tables.
        empty: names of columns without values.
    """

    checksums: DictionaryChecksums
    summaries: tuple[TableSummary, ...]
    empty: tuple[str, ...]


def write_last_day(
    job: Job,
    columns: Columns,
    parts: Sequence[PartResult],
    tables: dict[int, TableResult],
    progress: Callable[[int], None],
) -> LastDayResult:
    """Write the first half of the last day as test (one row larger if odd), and the second as val.

    Args:
        job: the run.
        columns: columns of the dataset, with all numbers of their transforms.
        parts: results of reading all files.
        tables: the merged tables, by table number.
        progress: called after each write with its number of records.
    """
    folder = job.folder / LAST_DAY_FOLDER
    found = finished_result(LastDayResult, folder)
    if found is not None:
        return found
    records = PartRecords(job, columns, parts, tables)
    left = (sum(part.kept_last for part in parts) + 1) // 2
    with attempt(folder, durable=job.durable) as temporary, ExitStack() as stack:
        test, val = (
            stack.enter_context(SplitWriter(temporary / split_file_name(split), columns)) for split in ("test", "val")
        )
        for part in parts:
            for block in records.blocks(Piece(part.file, LAST_DAY, part.kept_last), last_day=True):
                first = min(left, len(block))
                left -= first
                if first:
                    test.append(block[:first])
                if first < len(block):
                    val.append(block[first:])
                progress(len(block))
        result = LastDayResult(test.close(), val.close())
        save_result(result, temporary)
        return result


def write_dictionaries(job: Job, columns: Columns, tables: dict[int, TableResult]) -> DictionariesResult:
    """Write counts and dictionaries.

    Args:
        job: the run.
        columns: columns of the dataset, with all numbers of their transforms.
        tables: the merged tables, by table number.
    """
    folder = job.folder / DICTIONARIES
    found = finished_result(DictionariesResult, folder)
    if found is not None:
        return found
    saved = [
        SavedValues(job, number, tables[number].size) if number in tables else None
        for number in range(columns.num_sparse)
    ]
    vocabulary = VocabularyStage(job.options.columns_of_logs, job.options, saved, job.given())
    with attempt(folder, durable=job.durable) as temporary:
        empty = tuple(vocabulary.without_values())
        result = DictionariesResult(
            DictionaryChecksums("", ()) if empty else vocabulary.save(temporary, columns),
            tuple(vocabulary.summaries()),
            empty,
        )
        save_result(result, temporary)
        return result


def move_files(folder: Path, target: Path) -> None:
    """Move the files of a result to the folder that becomes the dataset, unless they are already there."""
    for path in folder.iterdir():
        if path.name != RESULT:
            path.rename(target / path.name)
