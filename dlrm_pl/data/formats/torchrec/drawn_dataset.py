"""A dataset folder of records with single ids, from which bags are drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dlrm_pl.data.formats.binary_format import Split
from dlrm_pl.data.formats.block_digests import BlockDigests
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.bag_tables import BagSettings
from dlrm_pl.data.formats.torchrec.record_rows import RecordRows
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.files.watched import FileState


@dataclass(frozen=True, repr=False)
class DrawnDataset(DatasetFolder):
    """A dataset folder whose columns have bags in place of single values.

    Attributes:
        single: the folder as stored, with single ids.
        bags: settings and folder of the lookup tables.
    """

    single: DatasetFolder | None = None
    bags: tuple[BagSettings, Path] | None = None

    @classmethod
    def of_single(cls, single: DatasetFolder, bags: tuple[BagSettings, Path]) -> DrawnDataset:
        """Return a folder with the bags that some lookup tables give."""
        sparse = zip(single.columns.sparse, bags[0].multi_hot_sizes, strict=True)
        columns = replace(single.columns, sparse=tuple(replace(column, bag=size) for column, size in sparse))
        text = json.dumps({"single": single.fingerprint, **bags[0].statement()}, sort_keys=True)
        values = {field.name: getattr(single, field.name) for field in fields(DatasetFolder)}
        values |= {"columns": columns, "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16]}
        # The known best AUROC holds only for models of single ids.
        return cls(**values | {"best_possible_auroc": {}}, single=single, bags=bags)

    @property
    def _single(self) -> DatasetFolder:
        assert self.single is not None
        return self.single

    def rows(self, split: Split) -> RecordRows:
        """Return the rows of a split."""
        path, info = self.split_path(split), self.splits[split]
        return RecordRows(
            path=path,
            states={path: FileState.of(path)},
            columns=self.columns,
            table_sizes=self.table_sizes,
            takes_remainder=False,
            bags=self.bags,
            start=0,
            stop=info.records,
            single=self._single.columns,
        )

    def digests(self, split: Split) -> BlockDigests | None:
        """Return None: the digests are those of records with single ids."""
        return None

    def vocabulary(self) -> Vocabulary:
        """Read the dictionaries, and check them against the fingerprint."""
        return Vocabulary(self._single.vocabulary().values, self.columns)

    def check_dictionaries(self) -> None:
        """Compare the dictionaries with the description."""
        self._single.check_dictionaries()

    def check_samples(self) -> str:
        """Check a few blocks of rows of each split."""
        return self._single.check_samples()

    def check_split(self, split: Split) -> str:
        """Compare a split with its checksum, byte for byte."""
        return self._single.check_split(split)

    def verify_checksums(self) -> str:
        """Compare all files with the description, byte for byte."""
        return self._single.verify_checksums()
