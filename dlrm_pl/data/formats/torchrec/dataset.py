"""A folder of days as a dataset: columns, splits, and the rows of each split."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Split
from dlrm_pl.data.formats.block_digests import BlockDigests
from dlrm_pl.data.formats.dataset_description import COUNT_AT_MOST, SplitInfo
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.bag_tables import BagSettings
from dlrm_pl.data.formats.torchrec.day_rows import DayRows
from dlrm_pl.data.formats.torchrec.drawn_bags import drawn_bags
from dlrm_pl.data.formats.torchrec.folder import DaysFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.errors import ConfigurationError, DataFormatError

log = logging.getLogger(__name__)

_ROWS_OF_FINGERPRINT = 64


class _Splits(dict[Split, SplitInfo]):
    """The splits; a missing one is an error that says why."""

    def __init__(self, folder: Path, splits: dict[Split, SplitInfo]) -> None:
        super().__init__(splits)
        self._folder = folder

    def __missing__(self, split: Split) -> SplitInfo:
        raise DataFormatError(
            f"{self._folder}: has no {split} rows: train consists of all days but the last, and there is only one day."
        )


@dataclass(frozen=True, repr=False)
class DaysDataset(DatasetFolder):
    """A folder of days in TorchRec's format: train is all days but the last, whose halves are val and test.

    Attributes:
        rows_by_split: the rows of each split.
        draws_bags: whether bags are drawn for single ids.
    """

    rows_by_split: dict[Split, DayRows] | None = None
    draws_bags: bool = False

    @classmethod
    def of_days(cls, path: Path, stated: StatedTables) -> DaysDataset:
        """Open a folder of days.

        Args:
            path: the folder.
            stated: facts that the files do not state.

        Raises:
            DataFormatError: a file is missing or damaged, or does not fit the others.
            ConfigurationError: the table sizes are not known, or ``stated`` does not fit the files.
        """
        sizes = stated.multi_hot_sizes
        days = DaysFolder.open(path, bags=None if sizes is None else max(sizes, default=1) > 1)
        table_sizes = _table_sizes(days, stated)
        bags = _drawn(days, stated, table_sizes)
        widths = days.widths if bags is None else bags[0].multi_hot_sizes
        columns = columns_of_days(days.num_dense, table_sizes, widths)
        rows = DayRows(
            path=path,
            states=days.states,
            columns=columns,
            table_sizes=table_sizes,
            takes_remainder=not days.has_bags,
            bags=bags,
            start=0,
            stop=sum(days.rows),
            files=days.files,
        )
        before, last = sum(days.rows[:-1]), days.rows[-1]
        # With an odd number of rows, val has one row more than test, as in TorchRec's loader.
        middle = before + (last + 1) // 2
        ranges: dict[Split, tuple[int, int]] = {
            "train": (0, before),
            "val": (before, middle),
            "test": (middle, sum(days.rows)),
        }
        of_split = {split: _of_days(rows, days.rows, *ends) for split, ends in ranges.items() if ends[0] < ends[1]}
        infos = {split: SplitInfo(len(part), _positives(part), None) for split, part in of_split.items()}
        return cls(
            path=path,
            table_sizes=table_sizes,
            splits=_Splits(path, infos),  # type: ignore[arg-type]
            max_ind_range=-1,
            fingerprint=_fingerprint(rows, before),
            best_possible_auroc={},
            report={} if days.description is None else days.description.report,
            columns=columns,
            rows_by_split=of_split,
            draws_bags=bags is not None,
        )

    def rows(self, split: Split) -> DayRows:
        """Return the rows of a split."""
        assert self.rows_by_split is not None
        self.splits[split]
        return self.rows_by_split[split]

    def split_path(self, split: Split) -> Path:
        """Return the folder: the rows of a split are spread over several files."""
        return self.path

    def digests(self, split: Split) -> BlockDigests | None:
        """Return None: these files have no block digests."""
        return None

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary of columns whose values are already ids."""
        return Vocabulary([None] * self.columns.num_sparse, self.columns)

    def check_dictionaries(self) -> None:
        """Do nothing: there are no dictionaries."""

    def check_samples(self) -> str:
        """Return what was checked when the folder was opened."""
        return "sizes, types and shapes of all days; values will be checked when they are read"

    def check_split(self, split: Split) -> str:
        """Check the values of all rows of a split.

        Raises:
            DataFormatError: a value is not allowed; the message names the file, the row and the value.
        """
        rows = self.rows(split)
        for first in range(0, len(rows), 8192):
            rows.records(slice(first, min(first + 8192, len(rows))))
        return f"all values of the {split} rows, which have no checksum"

    def verify_checksums(self) -> str:
        """Check the values of all rows.

        Raises:
            DataFormatError: a value is not allowed; the message names the file, the row and the value.
        """
        return ", ".join(self.check_split(split) for split in self.splits)


def columns_of_days(num_dense: int, table_sizes: tuple[int, ...], widths: tuple[int, ...]) -> Columns:
    """Return the columns of days, with the names that TorchRec gives them.

    Dense values are the model's inputs. Values of sparse columns are the ids in the files, modulo the number of rows of
    the table.
    """
    return Columns(
        "label",
        tuple(DenseColumn(name=f"int_{number}", type="float", transform="none") for number in range(num_dense)),
        tuple(
            SparseColumn(name=f"cat_{number}", kind="integer", ids="modulo", rows=rows, bag=width)
            for number, (rows, width) in enumerate(zip(table_sizes, widths, strict=True))
        ),
    )


def _table_sizes(days: DaysFolder, stated: StatedTables) -> tuple[int, ...]:
    sizes = stated.table_sizes
    if sizes is None and days.description is not None:
        sizes = tuple(days.description.table_sizes)
    if sizes is None:
        raise ConfigurationError(
            f"{days.path}: the files do not state how many rows the {len(days.widths)} tables have. Give "
            "data.table_sizes; for MLPerf's data, as in configs/data/mlperf_v2.yaml."
        )
    if len(sizes) != len(days.widths):
        raise ConfigurationError(
            f"data.table_sizes has {len(sizes)} sizes, but {days.files[0].ids} has {len(days.widths)} tables."
        )
    return sizes


def _drawn(days: DaysFolder, stated: StatedTables, table_sizes: tuple[int, ...]) -> tuple[BagSettings, Path] | None:
    """Return how bags are drawn; None if they are not. Checks their stated sizes."""
    sizes = stated.multi_hot_sizes
    if sizes is None:
        return None
    if len(sizes) != len(days.widths):
        raise ConfigurationError(
            f"data.multi_hot_sizes has {len(sizes)} sizes, but {days.files[0].ids} has {len(days.widths)} tables."
        )
    if days.has_bags:
        for table, (width, size) in enumerate(zip(days.widths, sizes, strict=True)):
            if width != size:
                raise DataFormatError(
                    f"{days.files[0].ids}: the bags of table {table} have {width} ids, but "
                    f"{size} {'are' if size > 1 else 'is'} stated (data.multi_hot_sizes, or the model). Give the "
                    "sizes that the bags were made with, or a folder with other bags."
                )
        return None
    return drawn_bags(days.path, table_sizes, stated, f"{days.path}: has single ids")


def _of_days(rows: DayRows, counts: tuple[int, ...], start: int, stop: int) -> DayRows:
    """Return a range of rows with only the files of its own days."""
    first = last = before = end = 0
    for number, count in enumerate(counts):
        if end <= start:
            first, before = number, end
        if end < stop:
            last = number
        end += count
    files = rows.files[first : last + 1]
    states = {path: rows.states[path] for day in files for path in (day.dense, day.labels, day.ids)}
    return replace(rows, files=files, states=states, start=start - before, stop=stop - before)


def _positives(rows: DayRows) -> int | None:
    return rows.count_positives() if len(rows) <= COUNT_AT_MOST else None


def _fingerprint(rows: DayRows, first: int) -> str:
    """Return a checksum of the columns and of the first ids of the last day, which differ in days with other ids."""
    digest = hashlib.sha256(rows.columns.digest.encode())
    some = rows.records(slice(first, min(first + _ROWS_OF_FINGERPRINT, len(rows))))
    digest.update(some[:, rows.columns.sparse_fields].tobytes())
    return digest.hexdigest()[:16]
