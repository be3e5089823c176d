"""A dataset folder: MLPerf's files, and ``dataset.json`` that describes them. Needs only NumPy."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, Split, split_file_name
from dlrm_pl.data.formats.binary_rows import BinaryRows, SplitRows
from dlrm_pl.data.formats.block_checksum import block_bytes, matches
from dlrm_pl.data.formats.block_digests import BlockDigests
from dlrm_pl.data.formats.dataset_description import DESCRIPTION_NAME, Description, Splits
from dlrm_pl.data.formats.torchrec.day_files import is_days_folder
from dlrm_pl.data.formats.vocabulary import COUNTS_NAME, DictionaryChecksums, Vocabulary, dictionary_name, load_counts
from dlrm_pl.errors import ConfigurationError, DataFormatError, DatasetError

if TYPE_CHECKING:
    from dlrm_pl.data.formats.row_encoder import RowEncoder
    from dlrm_pl.data.formats.torchrec.stated import StatedTables


@dataclass(frozen=True, repr=False)
class DatasetFolder:
    """The contents of a dataset folder.

    Attributes:
        path: the folder.
        table_sizes: number of rows of each table.
        splits: records, clicks and checksum of each split, by name.
        max_ind_range: modulus of the raw categories; -1 if there is none, or it is unknown.
        fingerprint: checksum of table sizes and dictionaries; in datasets with equal fingerprints, the same ids mean
            the same categories.
        best_possible_auroc: best AUROC that a model can expect on each split of synthetic data; empty for real logs.
        report: data report of ``preprocess``; empty for other data.
        dictionaries: checksum of each table's dictionary; empty if the folder does not state them.
        columns: columns of the records; those of Criteo's logs if the folder does not state them.

    Example:
        >>> import tempfile
        >>> import dlrm_pl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = dlrm_pl.synthesize(f"{folder}/clicks", rows=3000, days=3, max_table_size=50)
        ...     dataset = dlrm_pl.DatasetFolder.open(f"{folder}/clicks")
        >>> len(dataset.table_sizes), dataset.splits["train"].records
        (26, 2000)
    """

    path: Path
    table_sizes: tuple[int, ...]
    splits: Splits
    max_ind_range: int
    fingerprint: str
    best_possible_auroc: dict[str, float]
    report: dict[str, Any] = field(default_factory=dict)
    dictionaries: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns.criteo)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, rows: bool = True, stated: StatedTables | None = None
    ) -> DatasetFolder:
        """Read the description of a folder, or examine its files if it has none, as MLPerf's own.

        Args:
            path: dataset folder.
            rows: whether the files of the splits are needed; if not, the counts and dictionaries are enough.
            stated: for a folder of days in TorchRec's format, facts that its files do not state; None for none.

        Raises:
            DatasetError: there is no such folder.
            DataFormatError: a file is missing, truncated, or does not match the description.
            ConfigurationError: the table sizes are not known, or ``stated`` does not fit the files.

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
        if is_days_folder(folder) and not (folder / DESCRIPTION_NAME).exists():
            # Imported here, since these folders are datasets themselves.
            from dlrm_pl.data.formats.torchrec.dataset import DaysDataset
            from dlrm_pl.data.formats.torchrec.stated import StatedTables

            return DaysDataset.of_days(folder, stated or StatedTables())
        if stated is not None and stated.draws and stated.table_sizes is not None:
            raise ConfigurationError(
                f"{folder}: data.table_sizes is for days in TorchRec's format, which have day_0_dense.npy; this folder "
                "says itself what its tables are. Leave it out."
            )
        description = Description.read(folder)
        sizes = load_counts(folder, description.columns)
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
        fingerprint = description.fingerprint
        if not fingerprint:
            fingerprint = DictionaryChecksums.of_folder(sizes, folder, description.columns).fingerprint
        found = cls(
            path=folder,
            table_sizes=sizes,
            splits=splits,
            max_ind_range=description.max_ind_range,
            fingerprint=fingerprint,
            best_possible_auroc=description.best_possible_auroc,
            report=description.report,
            dictionaries=description.dictionaries,
            columns=description.columns,
        )
        return found if stated is None else found._with_bags(stated)

    def _with_bags(self, stated: StatedTables) -> DatasetFolder:
        """Return the folder with bags that are drawn, if it has single ids and bags are stated.

        Raises:
            ConfigurationError: the folder's own columns already have lists.
            DataFormatError, DatasetError: see ``drawn_bags``.
        """
        if not self.columns.is_one_hot:
            if stated.draws and stated.multi_hot_sizes is not None:
                raise ConfigurationError(
                    f"{self.path}: data.multi_hot_sizes draws bags of single ids, but these columns have lists. Leave "
                    "it out."
                )
            return self
        from dlrm_pl.data.formats.torchrec.drawn_bags import drawn_bags
        from dlrm_pl.data.formats.torchrec.drawn_dataset import DrawnDataset

        bags = drawn_bags(self.path, self.table_sizes, stated, f"{self.path}: has single ids")
        return self if bags is None else DrawnDataset.of_single(self, bags)

    def __repr__(self) -> str:
        """The path, rows of each split and number of tables, on one line."""
        rows = ", ".join(f"{split}={info.records}" for split, info in self.splits.items())
        return f"DatasetFolder({str(self.path)!r}{rows and f', {rows}'}, tables={len(self.table_sizes)})"

    def split_path(self, split: Split) -> Path:
        """Return the path of a split's file."""
        return self.path / split_file_name(split)

    def rows(self, split: Split) -> SplitRows:
        """Return the rows of a split."""
        return BinaryRows(self.split_path(split), self.columns)

    def require_both_classes(self, split: Split) -> None:
        """Check that AUROC is defined on a split.

        Raises:
            DatasetError: all labels of the split are equal; the message states the counts.
        """
        info = self.splits[split]
        if info.positives in (0, info.records):
            raise DatasetError(
                f"{self.split_path(split)}: all {info.records} labels of the {split} split are "
                f"{int(bool(info.positives))}, so AUROC is undefined. Preprocess more rows, or divide the days "
                "differently."
            )

    def digests(self, split: Split) -> BlockDigests | None:
        """Read the digests of a split's blocks, to check rows when they are read; None if the dataset has none.

        Raises:
            DataFormatError: the digests are corrupt.
        """
        return BlockDigests.load(self.split_path(split), self.splits[split].checksum, self.columns)

    def vocabulary(self) -> Vocabulary:
        """Read the dictionaries, and check them by the fingerprint.

        Raises:
            DataFormatError: a dictionary is missing, corrupt, or from another dataset; the message names it.
        """
        vocabulary = Vocabulary.load(self.path, self.columns)
        self._check_dictionaries(DictionaryChecksums.of_tables(self.table_sizes, vocabulary.values, self.columns))
        return vocabulary

    @cached_property
    def encoder(self) -> RowEncoder:
        """Turns rows with raw values into records; reads the dictionaries at the first access, see ``vocabulary``."""
        # Imported here, since it imports the code of all kinds of tables, which most uses of a folder do not need.
        from dlrm_pl.data.formats.row_encoder import RowEncoder

        return RowEncoder(self.columns, self.vocabulary(), self.max_ind_range)

    def check_dictionaries(self) -> None:
        """Compare the dictionaries with the description.

        Raises:
            DataFormatError: a dictionary was changed; the message names it.
        """
        self._check_dictionaries(DictionaryChecksums.of_folder(self.table_sizes, self.path, self.columns))

    def check_samples(self) -> str:
        """Check a few blocks of rows of each split, which takes milliseconds whatever the size.

        Returns:
            A text that says what was checked and what was not.

        Raises:
            DataFormatError: a block was changed; the message names the file and the rows.
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
            return "only sizes, since the folder has no digests of blocks"
        return f"only sizes, since there is no {DESCRIPTION_NAME} with checksums"

    def check_split(self, split: Split) -> str:
        """Compare a split with its checksum, byte for byte.

        Returns:
            A text that says what was checked.

        Raises:
            DataFormatError: the split was changed; the message names the file, and the rows if they are known.
        """
        path, stated = self.split_path(split), self.splits[split].checksum
        if stated is None:
            return f"the {split} rows have no checksum to compare with"
        if (digests := self.digests(split)) is not None:
            digests.check_all()
        elif not matches(path, stated, block_bytes(self.columns)):
            raise DataFormatError(
                f"{path}: was changed after it was written: its checksum differs. Preprocess the raw log again, "
                "or copy the file again."
            )
        return f"all {split} rows by their checksum"

    def verify_checksums(self) -> str:
        """Compare all files with the description, byte for byte.

        Returns:
            A text that says what was checked.

        Raises:
            DataFormatError: a file was changed; the message names it.
        """
        checked = [self.check_split(split) for split in self.splits]
        self.check_dictionaries()
        return ", ".join([*checked, "the dictionaries by the fingerprint"])

    def _check_dictionaries(self, actual: DictionaryChecksums) -> None:
        if actual.fingerprint == self.fingerprint and (not self.dictionaries or actual.tables == self.dictionaries):
            return
        changed = [
            dictionary_name(table)
            for table, (now, stated) in enumerate(zip(actual.tables, self.dictionaries, strict=False))
            if now != stated
        ]
        names = ", ".join(changed) if changed else f"its dictionaries, {COUNTS_NAME} or {DESCRIPTION_NAME}"
        raise DataFormatError(
            f"{self.path}: {names} changed after the dataset was written: the dictionaries give the fingerprint "
            f"{actual.fingerprint}, {DESCRIPTION_NAME} says {self.fingerprint}, so ids would mean other categories. "
            "Preprocess the raw log again, or copy the files from their dataset."
        )
