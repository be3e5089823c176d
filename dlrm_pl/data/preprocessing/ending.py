"""End of a run on logs of rows: checks of what was read, the data report, and the description of the dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, Split
from dlrm_pl.data.formats.dataset_description import SplitInfo
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe
from dlrm_pl.data.formats.vocabulary import DictionaryChecksums
from dlrm_pl.data.preprocessing.checkpoint import State
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.statistics.log_statistics import LogStatistics
from dlrm_pl.data.preprocessing.statistics.report import (
    data_report,
    warn_of_classes,
    warn_of_single_rows,
    warn_of_unseen,
)
from dlrm_pl.data.preprocessing.tables.summary import TableSummary
from dlrm_pl.errors import DataFormatError


def check_rows(statistics: LogStatistics, name: Callable[[int], str]) -> None:
    """Check that there are rows for training and testing.

    Args:
        statistics: counts of all days.
        name: function that returns the name of a day for messages.

    Raises:
        DataFormatError: there are too few rows.
    """
    last = statistics.days[-1].kept
    if last < 2:
        raise DataFormatError(
            f"{name(-1)}: the last day has {last} row{'s'[: last != 1]}; at least 2 are needed to "
            "split it into test and val."
        )
    if len(statistics.days) > 1 and not sum(day.kept for day in statistics.days[:-1]):
        raise DataFormatError(f"{name(0)}: subsample_rate left no training rows. Lower it, or use more rows.")


def check_values(empty: Sequence[str], log: str) -> None:
    """Check that each column has values.

    Args:
        empty: names of columns without values.
        log: name of the log for messages.

    Raises:
        DataFormatError: a column has no values.
    """
    if empty:
        raise DataFormatError(
            f"{log}: column {empty[0]} has no values on any day: all its lists are empty. Leave it out of the columns."
        )


def columns_of_dataset(options: PreprocessOptions, statistics: LogStatistics) -> Columns:
    """Return the columns with all numbers of their transforms."""
    columns = options.columns_of_logs
    return columns.with_statistics(statistics.moments.statistics(columns))


def report_of(
    options: PreprocessOptions, statistics: LogStatistics, summaries: Sequence[TableSummary], state: State
) -> dict[str, Any]:
    """Return the data report in JSON types."""
    report = data_report(
        *(statistics, summaries, state.rejected, state.unknown_values),
        cut_lists=state.cut_lists,
        modulus=options.modulus,
    )
    columns = options.columns_of_logs
    if options.vocabulary == "reference" and not columns.is_criteo:  # Criteo's logs are processed as in upstream.
        report["warnings"] += warn_of_unseen(columns, summaries)
    if options.vocabulary == "train_only":
        report["warnings"] += warn_of_single_rows(columns, summaries, options.min_count)
    return report


def describe_dataset(
    finished: Path,
    options: PreprocessOptions,
    columns: Columns,
    made: Mapping[str, SplitInfo],
    dictionaries: DictionaryChecksums,
    report: dict[str, Any],
    key: Mapping[str, Any],
) -> DatasetFolder:
    """Write ``dataset.json``.

    Args:
        finished: folder with all other files of the dataset.
        options: options of the run.
        columns: columns of the dataset, with all numbers of their transforms.
        made: contents of the splits.
        dictionaries: checksums of the dictionaries.
        report: data report, to which warnings about the splits are added.
        key: options and inputs of the run, as JSON values.
    """
    splits: dict[Split, SplitInfo] = {split: made[split] for split in SPLITS if split in made}
    report["warnings"] += warn_of_classes((split, info.records, info.positives or 0) for split, info in splits.items())
    return describe(
        finished,
        max_ind_range=options.modulus or -1,
        created_by="preprocess",
        columns=columns,
        splits=splits,
        known_dictionaries=dictionaries,
        extra={"report": report, "preprocess": key},
    )
