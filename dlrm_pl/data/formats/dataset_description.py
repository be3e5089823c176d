"""``dataset.json``: what it says of a dataset folder, every value checked when it is read. Needs NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlrm_pl.data.formats.binary_format import SPLITS, Split
from dlrm_pl.documents.fields import Count, Partial, Positive, Share, make, shown
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import DataFormatError

FORMAT = 1
DESCRIPTION_NAME = "dataset.json"
_ADVICE = "Preprocess the raw log again."


@dataclass(frozen=True)
class SplitInfo:
    """One split.

    Attributes:
        records: rows.
        positives: clicks; None where nobody counted them.
        checksum: of the file, see ``block_checksum``; None where nobody computed it.

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
    """As it stands in the file; ``sha256`` is of the file as a whole, as earlier versions wrote it."""

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
    """Of ``data_report``."""

    rows: Count
    missing_rates: dict[str, Share]
    largest_shares: list[_CommonValue]
    days: list[_Day]
    rejected: dict[str, Count]
    unknown_values: Count
    warnings: list[str]


@dataclass(frozen=True)
class Description(Partial):
    """What the file says; nothing where it is not there, as in a folder of MLPerf's tools.

    Attributes:
        table_sizes: rows of each table; empty: not stated.
        splits: by name; those that it states.
        max_ind_range: categories were taken modulo this number; -1: not, or unknown.
        fingerprint: over table sizes and dictionaries; empty: not stated.
        dictionaries: checksum of each table's dictionary; empty: not stated.
        best_possible_auroc: by split, for synthetic data.
        report: what ``preprocess`` found in the logs; empty for other data.
        created_by: the command, for people.
        preprocess: options and inputs that it was made from; None for other data.
    """

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
        """Read the file of a folder.

        Raises:
            DataFormatError: not JSON, of another version, or with a value that makes no sense; names it.
        """
        path = folder / DESCRIPTION_NAME
        if not path.exists():
            return cls()
        contents = read_json(path, DataFormatError, _ADVICE)
        found = contents.get("format") if isinstance(contents, dict) else None
        if found != FORMAT:
            raise DataFormatError(f"{path}: format {shown(found)}, this version reads {FORMAT}. {_ADVICE}")
        description = make(cls, contents, str(path), DataFormatError, _ADVICE)
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
        """What is stated of a split; None where nothing is."""
        stated = self.splits.get(name)
        if stated is None:
            return None
        checksum = stated.checksum or (f"sha256:{stated.sha256}" if stated.sha256 else None)
        return SplitInfo(stated.records, stated.positives, checksum)
