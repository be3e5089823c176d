"""Contents of a dataset folder's ``dataset.json``; each value is checked when it is read. Needs only NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, SPLITS, Split, count_records, open_records, split_file_name
from dlrm_pl.documents.fields import Count, Partial, Positive, Share, make, shown
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import DataFormatError

FORMAT = 1
DESCRIPTION_NAME = "dataset.json"
REJECTED = "rejected.tsv"
"""File of the rows that ``preprocess`` left out."""

_ADVICE = "Preprocess the raw log again."
# The labels of a folder without a description are counted if that takes about a second at most.
COUNT_AT_MOST = 10_000_000


@dataclass(frozen=True)
class SplitInfo:
    """Rows, clicks and checksum of a split.

    Attributes:
        records: number of rows.
        positives: number of clicks; None if they were not counted.
        checksum: checksum of the file, see ``block_checksum``; None if it was not computed.

    Example:
        >>> from dlrm_pl.data import SplitInfo
        >>> split = SplitInfo(records=1000, positives=33, checksum=None)
        >>> split.positives / split.records
        0.033
    """

    records: int
    positives: int | None
    checksum: str | None


@dataclass(frozen=True)
class _StatedSplit:
    """A split as the file describes it; earlier versions wrote ``sha256``, the SHA-256 of the whole file."""

    records: Positive
    positives: Count | None = None
    label_rate: Share | None = None
    checksum: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class _CommonValue:
    column: str
    value: str
    share: Share


@dataclass(frozen=True)
class _Day:
    rows: Count
    kept: Count
    label_rate: Share


@dataclass(frozen=True)
class _Report:
    """The field ``data_report``."""

    rows: Count
    missing_rates: dict[str, Share]
    largest_shares: list[_CommonValue]
    days: list[_Day]
    rejected: dict[str, Count]
    unknown_values: Count
    warnings: list[str]
    cut_lists: Count = 0
    uncounted_columns: Count = 0


@dataclass(frozen=True)
class Description(Partial):
    """Contents of ``dataset.json``; empty if the file is missing, as in a folder of MLPerf's tools.

    Attributes:
        columns: columns of the records; Criteo's if not stated.
        table_sizes: number of rows of each table; empty if not stated.
        splits: stated splits by name.
        max_ind_range: modulus of the categories; -1 if there was none or if it is unknown.
        fingerprint: fingerprint of table sizes and dictionaries; empty if not stated.
        dictionaries: checksum of each table's dictionary; empty if not stated.
        best_possible_auroc: best possible AUROC by split, for synthetic data.
        report: data report of ``preprocess``; empty for other data.
        created_by: command that made the dataset, for information only.
        preprocess: options and inputs of ``preprocess``; None for other data.
    """

    columns: Columns = field(default_factory=Columns.criteo)
    table_sizes: tuple[Positive, ...] = ()
    splits: dict[Split, _StatedSplit] = field(default_factory=dict)
    max_ind_range: int = -1
    fingerprint: str = ""
    dictionaries: tuple[str, ...] = ()
    best_possible_auroc: dict[str, Share] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    created_by: str = ""
    preprocess: Any = None

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Read the file in a folder.

        Raises:
            DataFormatError: the file is not JSON, is of another version, or has a value that makes no sense; the
                message names it.
        """
        path = folder / DESCRIPTION_NAME
        if not path.exists():
            return cls()
        contents = read_json(path, DataFormatError, _ADVICE)
        stated = contents.get("format") if isinstance(contents, dict) else None
        if stated != FORMAT:
            raise DataFormatError(f"{path}: has format {shown(stated)}, but this version reads {FORMAT}. {_ADVICE}")
        columns = _stated_columns(contents.pop("columns", None), path)
        description = replace(make(cls, contents, str(path), DataFormatError, _ADVICE), columns=columns)
        if description.report:
            make(_Report, description.report, f"{path}: report", DataFormatError, _ADVICE)
        for name, split in description.splits.items():
            if name not in SPLITS:
                raise DataFormatError(
                    f"{path}: splits: unknown name {shown(name)}; expected {', '.join(SPLITS)}. {_ADVICE}"
                )
            if (split.positives or 0) > split.records:
                raise DataFormatError(
                    f"{path}: splits.{name}: states {split.positives} clicks in {split.records} rows. {_ADVICE}"
                )
        return description

    def split(self, name: Split) -> SplitInfo | None:
        """Return the description of a split; None if there is none."""
        stated = self.splits.get(name)
        if stated is None:
            return None
        checksum = stated.checksum or (f"sha256:{stated.sha256}" if stated.sha256 else None)
        return SplitInfo(stated.records, stated.positives, checksum)


def _stated_columns(stated: Any, path: Path) -> Columns:
    if stated is None:
        return Columns.criteo()
    columns = Columns.of_statement(stated, f"{path}: columns", DataFormatError, _ADVICE)
    for column in columns.dense:
        if not column.computed:
            raise DataFormatError(
                f"{path}: columns: column {column.name} states transform=standardize without mean and deviation. "
                f"{_ADVICE}"
            )
    return columns


class Splits(dict[Split, SplitInfo]):
    """Descriptions of the splits by name; the file of a split is examined on first access.

    Args:
        folder: dataset folder.
        description: contents of its ``dataset.json``.

    Example:
        >>> from dlrm_pl.data import DatasetFolder
        >>> splits = DatasetFolder.open("datasets/quickstart").splits
        >>> splits["train"].records > splits["test"].records
        True
    """

    def __init__(self, folder: Path, description: Description) -> None:
        super().__init__()
        self._folder = folder
        self._description = description

    def __missing__(self, split: Split) -> SplitInfo:
        """Examine the file of a split.

        Raises:
            DataFormatError: the file is missing, truncated, or does not match the description.
        """
        file, stated = self._folder / split_file_name(split), self._description.split(split)
        if stated is None and self._description.splits:
            raise DataFormatError(
                f"{self._folder}: has no {split} rows, only {' and '.join(self._description.splits)}. A single day "
                "that was preprocessed with --vocabulary_from has no training rows. Name a dataset with more days."
            )
        columns = self._description.columns
        records = count_records(file, columns)
        if stated is not None and stated.records != records:
            raise DataFormatError(
                f"{file}: has {records} records, but {DESCRIPTION_NAME} states {stated.records}. The file was "
                "truncated or replaced; preprocess the raw log again."
            )
        positives = stated.positives if stated else None
        if positives is None and records <= COUNT_AT_MOST:
            positives = int(np.count_nonzero(open_records(file, columns)[:, LABEL]))
        self[split] = SplitInfo(records, positives, stated.checksum if stated else None)
        return self[split]
