"""Contents of a dataset in numbers, for figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.columns.column import MOST_ROWS
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Split
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.record_checks import RecordChecks
from dlrm_pl.data.formats.torchrec.day_files import is_days_folder
from dlrm_pl.data.formats.torchrec.folder import DaysFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.data.survey.labels import LabelRate, day_rates, split_rates
from dlrm_pl.data.survey.sample import sample_size, sampled_rows
from dlrm_pl.data.survey.skew import IdSkew, id_skew


@dataclass(frozen=True)
class Survey:
    """Contents of a dataset.

    Attributes:
        path: the folder.
        columns: columns of its rows.
        fingerprint: fingerprint of its dictionaries.
        splits: number of rows and click rate of each split.
        rates: click rate of each day, or of each split if the days are not known.
        table_sizes: number of rows of each table; None if they are not known.
        missing: share of rows in which each column is missing; None if it was not counted.
        why_not_missing: why missing values were not counted.
        sampled_split: split that the sample is from.
        sampled: number of rows in the sample.
        skew: ids of each sparse column in the sample.
        best_possible_auroc: best possible AUROC by split, for synthetic data.
        report: data report of ``preprocess``; empty for other data.
    """

    path: Path
    columns: Columns
    fingerprint: str
    splits: tuple[LabelRate, ...]
    rates: tuple[LabelRate, ...]
    table_sizes: tuple[int, ...] | None
    missing: Mapping[str, float] | None
    why_not_missing: str
    sampled_split: Split
    sampled: int
    skew: tuple[IdSkew, ...]
    best_possible_auroc: Mapping[str, float]
    report: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Total number of rows."""
        return sum(split.rows for split in self.splits)

    @property
    def rate(self) -> float:
        """Share of clicks among all rows."""
        return sum(split.rate * split.rows for split in self.splits) / max(1, self.rows)

    @property
    def is_exact(self) -> bool:
        """Whether all clicks were counted."""
        return all(split.sampled is None for split in self.splits)


def survey(path: Path) -> Survey:
    """Examine a dataset folder: its own description, and a sample of its rows.

    Time and memory are bounded, whatever the size of the dataset: at most 262,144 rows and 64 MiB are read.

    Raises:
        DatasetError: there is no such folder.
        DataFormatError: a file is missing or damaged, or a row of the sample is damaged.
    """
    days = DaysFolder.open(path) if is_days_folder(path) and not (path / "dataset.json").is_file() else None
    # If the table sizes are not stated, any non-negative ids are allowed.
    stated = None if days is None or days.description else StatedTables((MOST_ROWS,) * len(days.widths))
    folder = DatasetFolder.open(path, stated=stated)
    split, size, skew = _sampled(folder)
    report = folder.report
    missing = report.get("missing_rates") if report else None
    why = "" if missing else _why_not(folder)
    splits = tuple(split_rates(folder))
    return Survey(
        path=path,
        columns=folder.columns,
        fingerprint=folder.fingerprint,
        splits=splits,
        rates=tuple(day_rates(folder, days)) or splits,
        table_sizes=None if stated else folder.table_sizes,
        missing=dict(missing) if missing else None,
        why_not_missing=why,
        sampled_split=split,
        sampled=size,
        skew=skew,
        best_possible_auroc=folder.best_possible_auroc,
        report=report,
    )


def _sampled(folder: DatasetFolder) -> tuple[Split, int, tuple[IdSkew, ...]]:
    """Read a sample of the training rows, or of another split where there are none."""
    split: Split = next(iter(folder.splits))
    rows, columns = folder.rows(split), folder.columns
    size = sample_size(len(rows), columns.record_bytes)
    sample = np.empty((size, columns.record_ints), np.int32)
    checks = RecordChecks(rows.path, columns, folder.table_sizes)
    done = 0
    for block in sampled_rows(len(rows), size):
        records = rows.records(block)
        checks.check(records, range(block.start, block.stop))
        sample[done : done + len(records)] = records
        done += len(records)
    assert done == size
    skew = (id_skew(column, sample[:, at]) for column, at in zip(columns.sparse, columns.table_fields, strict=True))
    return split, size, tuple(skew)


def _why_not(folder: DatasetFolder) -> str:
    """Return why the missing values of a dataset are not known."""
    if folder.report:
        return "facebookresearch/dlrm's files have 0 in place of a missing value"
    return "they are counted when preprocess reads the logs, but this dataset was not made by preprocess"
