"""A dataset folder: MLPerf's files, and ``dataset.json`` that describes them. Needs NumPy alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.batch import NUM_SPARSE
from dlrm_pl.data.formats.binary_format import LABEL, SPLITS, Split, count_records, open_records, split_file_name
from dlrm_pl.data.formats.block_checksum import file_checksum, matches
from dlrm_pl.data.formats.block_digests import BlockDigests, digests_path
from dlrm_pl.data.formats.dataset_description import DESCRIPTION_NAME, FORMAT, Description, SplitInfo
from dlrm_pl.data.formats.vocabulary import COUNTS_NAME, DictionaryChecksums, Vocabulary, dictionary_name, load_counts
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.errors import DataFormatError, DatasetError
from dlrm_pl.files.replacement import FinishedOutput

REJECTED = "rejected.tsv"
# Labels of a folder without a description are counted when that takes less than a second or so.
_COUNT_AT_MOST = 10_000_000


class Splits(dict[Split, SplitInfo]):
    """What is known of each split; of one that is not there, its file is looked at when it is asked for.

    Args:
        folder: of the dataset.
        description: what is stated of them.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        super().__init__()
        self._folder, self._description = folder, description

    def __missing__(self, split: Split) -> SplitInfo:
        """Look at the file.

        Raises:
            DataFormatError: it is missing, cut short, or not what the description says.
        """
        file, stated = self._folder / split_file_name(split), self._description.split(split)
        if stated is None and self._description.splits:
            raise DataFormatError(
                f"{self._folder}: has no {split} rows, only {' and '.join(self._description.splits)}. One day that was "
                "preprocessed with --vocabulary_from is for validation, tests and scores: name a dataset of more days."
            )
        records = count_records(file)
        if stated is not None and stated.records != records:
            raise DataFormatError(
                f"{file}: has {records} records, {DESCRIPTION_NAME} says {stated.records}. The file was cut or "
                "replaced; preprocess the raw log again."
            )
        positives = stated.positives if stated else None
        if positives is None and records <= _COUNT_AT_MOST:
            positives = int(np.count_nonzero(open_records(file)[:, LABEL]))
        self[split] = SplitInfo(records, positives, stated.checksum if stated else None)
        return self[split]


@dataclass(frozen=True, repr=False)
class DatasetFolder:
    """What a dataset folder holds.

    Attributes:
        path: the folder.
        table_sizes: rows of each table.
        splits: by name.
        max_ind_range: categories were taken modulo this number; -1: not, or unknown.
        fingerprint: over table sizes and dictionaries; the same ids mean the same categories.
        best_possible_auroc: by split, for synthetic data; empty for real logs.
        report: what ``preprocess`` found in the logs; empty for other data.
        dictionaries: checksum of each table's dictionary; empty in folders of earlier versions and without a
            description.
    """

    path: Path
    table_sizes: tuple[int, ...]
    splits: Splits
    max_ind_range: int
    fingerprint: str
    best_possible_auroc: dict[str, float]
    report: dict[str, Any] = field(default_factory=dict)
    dictionaries: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, rows: bool = True) -> DatasetFolder:
        """Read the description; a plain MLPerf folder without one is described from its files.

        Args:
            path: the folder.
            rows: look at the files of all splits. Else they may be missing: counts and dictionaries are enough.

        Raises:
            DatasetError: no such folder.
            DataFormatError: a file is missing, cut short, or not what the description says.

        Example:
            >>> import tempfile
            >>> from dlrm_pl import DatasetFolder, synthesize
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     report = synthesize(f"{folder}/clicks", rows=1000, max_table_size=100)
            ...     clicks = DatasetFolder.open(f"{folder}/clicks")
            >>> clicks.splits["val"].records, clicks.table_sizes[:3]
            (125, (44, 62, 97))
        """
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise DatasetError(
                f"{folder}: there is no such dataset folder. Make one with `preprocess` or `synthesize`."
            )
        sizes = load_counts(folder)
        description = Description.read(folder)
        splits = Splits(folder, description)
        for split in (description.splits or SPLITS) if rows else ():
            splits[split]
        stated_sizes = description.table_sizes or sizes
        if len(sizes) != len(stated_sizes):
            raise DataFormatError(
                f"{folder / COUNTS_NAME}: has {len(sizes)} tables, {DESCRIPTION_NAME} says {len(stated_sizes)}. The "
                "files are of different runs; preprocess the raw log again."
            )
        for table, (count, expected) in enumerate(zip(sizes, stated_sizes, strict=True)):
            if count != expected:
                raise DataFormatError(
                    f"{folder / COUNTS_NAME}: table {table} has {count} rows, {DESCRIPTION_NAME} says {expected}. "
                    "The files are of different runs; preprocess the raw log again."
                )
        return cls(
            path=folder,
            table_sizes=sizes,
            splits=splits,
            max_ind_range=description.max_ind_range,
            fingerprint=description.fingerprint or DictionaryChecksums.of_folder(sizes, folder).fingerprint,
            best_possible_auroc=description.best_possible_auroc,
            report=description.report,
            dictionaries=description.dictionaries,
        )

    def __repr__(self) -> str:
        """The path, rows of each split and number of tables, on one line."""
        rows = ", ".join(f"{split}={info.records}" for split, info in self.splits.items())
        return f"DatasetFolder({str(self.path)!r}{rows and f', {rows}'}, tables={len(self.table_sizes)})"

    def split_path(self, split: Split) -> Path:
        """The file of a split."""
        return self.path / split_file_name(split)

    def require_both_classes(self, split: Split) -> None:
        """Raise before the work, not after, that no AUROC can come of a split.

        Raises:
            DatasetError: all its labels are alike; states the counts.
        """
        info = self.splits[split]
        if info.positives in (0, info.records):
            raise DatasetError(
                f"{self.split_path(split)}: all {info.records} labels of the {split} split are "
                f"{int(bool(info.positives))}, so AUROC is undefined. Preprocess more rows, or cut the days otherwise."
            )

    def digests(self, split: Split) -> BlockDigests | None:
        """Digests of the blocks of a split, to check rows when they are read; None if the dataset has none.

        Raises:
            DataFormatError: they are damaged.
        """
        return BlockDigests.beside(self.split_path(split), self.splits[split].checksum)

    def vocabulary(self) -> Vocabulary:
        """The dictionaries, which have to be those that the fingerprint was made of.

        Raises:
            DataFormatError: one is missing, damaged, or another one; names it.
        """
        vocabulary = Vocabulary.load(self.path)
        self._check_dictionaries(DictionaryChecksums.of_tables(self.table_sizes, vocabulary.values))
        return vocabulary

    def check_dictionaries(self) -> None:
        """Compare the dictionaries that are there with the description, one after the other.

        Raises:
            DataFormatError: one was changed; names it.
        """
        self._check_dictionaries(DictionaryChecksums.of_folder(self.table_sizes, self.path))

    def check_samples(self) -> str:
        """Check a few blocks of rows of each split, which takes milliseconds whatever their size.

        Returns:
            What was checked and what was not, in words.

        Raises:
            DataFormatError: one was changed; names the file and its rows.
        """
        checked = total = 0
        for split in self.splits:
            if (digests := self.digests(split)) is not None:
                checked, total = checked + digests.check_samples(), total + len(digests)
        if not self.splits:
            return "the counts, since no rows are read; the dictionaries when they are used"
        if total:
            return f"sizes, and {checked:,} of {total:,} blocks of rows by their checksums; not the dictionaries"
        if any(info.checksum is not None for info in self.splits.values()):
            return "sizes alone, since no digests of blocks stand beside the files"
        return f"sizes alone; there are no checksums to compare with, since {DESCRIPTION_NAME} is not there"

    def check_split(self, split: Split) -> str:
        """Compare a split with its checksum, byte for byte.

        Returns:
            What was checked, in words.

        Raises:
            DataFormatError: it was changed; names the file, and the rows where that is known.
        """
        path, stated = self.split_path(split), self.splits[split].checksum
        if stated is None:
            return f"the {split} rows have no checksum to compare with"
        if (digests := self.digests(split)) is not None:
            digests.check_all()
        elif not matches(path, stated):
            raise DataFormatError(
                f"{path}: was changed after it was written: its checksum is another one. Preprocess the raw log "
                "again, or copy the file anew."
            )
        return f"all {split} rows by their checksum"

    def verify_checksums(self) -> str:
        """Compare the files with the description, byte for byte.

        Returns:
            What was checked, in words.

        Raises:
            DataFormatError: a file was changed; names it.
        """
        found = [self.check_split(split) for split in self.splits]
        self.check_dictionaries()
        return ", ".join([*found, "the dictionaries by the fingerprint"])

    def _check_dictionaries(self, found: DictionaryChecksums) -> None:
        if found.fingerprint == self.fingerprint and (not self.dictionaries or found.tables == self.dictionaries):
            return
        changed = [
            dictionary_name(table)
            for table, (one, other) in enumerate(zip(found.tables, self.dictionaries, strict=False))
            if one != other
        ]
        names = ", ".join(changed) if changed else f"its dictionaries, {COUNTS_NAME} or {DESCRIPTION_NAME}"
        raise DataFormatError(
            f"{self.path}: {names} changed after the dataset was written: the dictionaries give the fingerprint "
            f"{found.fingerprint}, {DESCRIPTION_NAME} says {self.fingerprint}, so ids would mean other categories. "
            "Preprocess the raw log again, or copy the files from their dataset."
        )


def describe(
    folder: Path,
    *,
    max_ind_range: int,
    created_by: str,
    best_possible_auroc: Mapping[str, float] | None = None,
    splits: Mapping[Split, SplitInfo] | None = None,
    known_dictionaries: DictionaryChecksums | None = None,
    extra: Mapping[str, Any] | None = None,
) -> DatasetFolder:
    """Write ``dataset.json`` for files that stand in the folder already, and return what it says.

    Args:
        folder: with the splits, the counts and the dictionaries.
        max_ind_range: that the categories were taken modulo.
        created_by: the command, for people.
        best_possible_auroc: by split, for synthetic data.
        splits: what they hold, when that is known; else the files are read.
        known_dictionaries: their checksums; else these are read.
        extra: more for people and reports.
    """
    sizes = load_counts(folder)
    described = {}
    for split in splits or SPLITS:
        info = splits[split] if splits else _read_split(folder / split_file_name(split))
        described[split] = {
            "records": info.records,
            "positives": info.positives,
            "label_rate": (info.positives or 0) / info.records,
            "checksum": info.checksum,
        }
    dictionaries = known_dictionaries or DictionaryChecksums.of_folder(sizes, folder)
    contents = {
        "format": FORMAT,
        "created_by": created_by,
        "max_ind_range": max_ind_range,
        "table_sizes": list(sizes),
        "fingerprint": dictionaries.fingerprint,
        "dictionaries": list(dictionaries.tables),
        "splits": described,
        "best_possible_auroc": dict(best_possible_auroc or {}),
    }
    text = json.dumps(contents | dict(extra or {}), indent=2) + "\n"
    (folder / DESCRIPTION_NAME).write_text(text, encoding="utf-8")
    return DatasetFolder.open(folder)


def _read_split(path: Path) -> SplitInfo:
    """Count rows and clicks of a file, and write the digests of its blocks."""
    records, checksum = open_records(path), file_checksum(path)
    digests_path(path).write_bytes(checksum.digests())
    return SplitInfo(len(records), int(np.count_nonzero(records[:, LABEL])), checksum.text())


def recognize_dataset(folder: Path) -> FinishedOutput | None:
    """What a folder says of itself that `preprocess` or `synthesize` wrote; None for others."""
    contents = object_with(folder / DESCRIPTION_NAME, "created_by")
    if contents is None:
        return None
    files = [Path(split_file_name(split)) for split in SPLITS]
    names = [path.name for file in files for path in (file, digests_path(file))]
    names += [COUNTS_NAME, *map(dictionary_name, range(NUM_SPARSE)), REJECTED]
    command = str(contents["created_by"])
    settings = object_in(contents, "synthetic" if command == "synthesize" else command)
    return FinishedOutput("a dataset", command, settings, (*names, DESCRIPTION_NAME))
