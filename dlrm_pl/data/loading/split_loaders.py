"""Train, val, test and calibration loaders of a dataset folder, for a LightningDataModule or without one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.capping import capped_sizes
from dlrm_pl.data.formats.binary_format import Split
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.torchrec.bag_tables import Distribution
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.data.formats.vocabulary import require_dictionaries
from dlrm_pl.data.loading.dataset import Batches, ClickDataset
from dlrm_pl.data.loading.raw_dataset import RawLogDataset
from dlrm_pl.data.loading.resumable_loader import ClickLoader, SelectionStream
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.data.loading.sampling import EpochSampler, Shuffle
from dlrm_pl.data.sources.kept import KeptColumns, column_names, kept_of_split
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError, DatasetError
from dlrm_pl.files.destinations import STDIN

log = logging.getLogger(__name__)

CALIBRATION_ROWS = 128_000
"""Number of rows at the beginning of val used for calibration, as MLPerf prescribes."""

# Share of val used for calibration if val is too small for the number of rows that MLPerf prescribes.
_CALIBRATION_SHARE = 0.1


class SplitLoaders:
    """Splits of a dataset folder, with a loader for each; ``DLRMDataModule`` describes the arguments.

    It does not need Lightning, whose import takes seconds.
    """

    trainer: Any = None

    def __init__(
        self,
        folder: str | os.PathLike[str],
        batch_size: int = 2048,
        eval_batch_size: int = 16384,
        shuffle: Shuffle = "batch",
        seed: int = 0,
        num_workers: int = 0,
        max_ind_range: int = -1,
        table_sizes: list[int] | None = None,
        multi_hot_sizes: list[int] | None = None,
        multi_hot_distribution: Distribution | None = None,
        calibration_rows: int = CALIBRATION_ROWS,
        predict_split: Literal["train", "val", "test"] = "test",
        predict_raw: str | os.PathLike[str] | None = None,
        predict_truncate_lists: bool = False,
        predict_keep: list[str] | str | None = None,
    ) -> None:
        super().__init__()
        check_arguments(SplitLoaders.__init__, locals())
        for name, value in (
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
            ("calibration_rows", calibration_rows),
        ):
            if value < 1:
                raise ConfigurationError(f"data.{name}={value} must be at least 1.")
        if seed < 0:
            raise ConfigurationError(f"data.seed={seed} must be 0 or more.")
        if max_ind_range < -1:
            raise ConfigurationError(f"data.max_ind_range={max_ind_range} must be -1 (as in the folder) or more.")
        if num_workers < 0:
            raise ConfigurationError(f"data.num_workers={num_workers} must be 0 (read in this process) or more.")
        stated = StatedTables.of_options(table_sizes, multi_hot_sizes, multi_hot_distribution)
        self.folder = DatasetFolder.open(folder, rows=predict_raw is None, stated=stated)
        log.info("%s: checked %s; `inspect --full` checks everything", folder, self.folder.check_samples())
        if 0 < self.folder.max_ind_range < max_ind_range:
            raise ConfigurationError(
                f"data.max_ind_range={max_ind_range}, but {folder} was preprocessed with the lower cap "
                f"{self.folder.max_ind_range}. Leave it at -1, or preprocess again."
            )
        # Python integers instead of NumPy's, which JSON cannot hold.
        self.batch_size = int(batch_size)
        self.eval_batch_size = int(eval_batch_size)
        self._shuffle: Shuffle = shuffle
        self.seed = int(seed)
        self._num_workers = int(num_workers)
        self._max_ind_range = int(max_ind_range)
        self._calibration_rows = int(calibration_rows)
        self._predict_split: Split = predict_split
        self.predict_raw = predict_raw
        self._predict_truncate_lists = predict_truncate_lists
        self.predict_keep = column_names(predict_keep)
        self._kept: KeptColumns | None = None
        self.table_sizes = list(capped_sizes(self.folder.table_sizes, max_ind_range, self.columns))

    def __repr__(self) -> str:
        """The folder, the rows of each split and the batch size, on one line."""
        rows = "".join(f", {split}={info.records}" for split, info in self.folder.splits.items())
        return f"{type(self).__name__}({str(self.folder.path)!r}{rows}, batch_size={self.batch_size})"

    @property
    def columns(self) -> Columns:
        """Columns of the dataset's records."""
        return self.folder.columns

    @property
    def num_dense(self) -> int:
        """Number of dense columns N."""
        return self.columns.num_dense

    @property
    def dataset_fingerprint(self) -> str:
        """Fingerprint of the dictionaries: if it is equal, the same ids stand for the same categories."""
        return self.folder.fingerprint

    @property
    def encoder(self) -> RowEncoder:
        """Encoder of rows with raw values into the dataset's records; reads the dictionaries on first access."""
        return self.folder.encoder

    def require_vocabulary(self) -> None:
        """Check that the dictionaries match a model trained here, before they are put into an artifact.

        Raises:
            ConfigurationError: ``max_ind_range`` changes the ids that the dictionaries give.
            DataFormatError: a dictionary is missing.
        """
        if self.table_sizes != list(self.folder.table_sizes):
            raise ConfigurationError(
                f"data.max_ind_range={self._max_ind_range} makes ids that differ from those of the dictionaries, so "
                "the dictionaries cannot be put into an artifact. Preprocess with --max_ind_range instead."
            )
        require_dictionaries(self.folder.path, self.columns)

    @property
    def training_settings(self) -> Mapping[str, Any]:
        """Settings that determine the rows of each training batch, by name; a resumed run must not change them."""
        train = self.folder.splits["train"]
        return {
            "batch_size": self.batch_size,
            "shuffle": self._shuffle,
            "seed": self.seed,
            "max_ind_range": self._max_ind_range,
            "train_rows": train.records,
            "train_checksum": train.checksum,
        }

    def best_possible_auroc(self, split: Split) -> float | None:
        """AUROC of the true click probabilities of a split, known for synthetic data; None for real logs."""
        return self.folder.best_possible_auroc.get(split)

    def setup(self, stage: str) -> None:
        """Check, before a stage starts, that its splits have labels of both classes.

        Raises:
            DatasetError: a split has labels of one class; the message names the split and the counts.
        """
        if stage == "fit":
            self.folder.splits["train"]
        for split, stages in (("val", ("fit", "validate")), ("test", ("test",))):
            if stage in stages:
                self.folder.require_both_classes(split)  # type: ignore[arg-type]

    def require_quantizable(self, *, tuning: bool, max_rows: int | None) -> None:
        """Check that AUROC is defined on the rows for quantization, before training and a search depend on it.

        Args:
            tuning: whether AUROC or guards are judged on the tuning rows; they are always judged on the certification
                rows.
            max_rows: largest number of tuning rows that trials may read; None for all.

        Raises:
            DatasetError: all labels of the rows are equal; the message names the split and the rows.
        """
        self.folder.require_both_classes("test")
        for name, rows in self.row_ranges.items():
            if name == "calibration" or (name == "tuning" and not tuning):
                continue
            stop = min(rows.stop, rows.start + max_rows) if name == "tuning" and max_rows else rows.stop
            path = self.folder.split_path(rows.split)
            label = self.folder.rows(rows.split).single_label(rows.start, stop)
            if label is not None:
                raise DatasetError(
                    f"{path}: all {stop - rows.start:,} labels of the {name} rows ({rows.start:,} to {stop:,} of "
                    f"{rows.split}) are {label}, so AUROC is undefined. Preprocess more rows, or divide the days "
                    "differently."
                )

    def train_dataloader(self) -> ClickLoader:
        """Return the training batches, shuffled according to ``shuffle``."""
        return self._loader("train", self.batch_size, self._shuffle)

    def val_dataloader(self) -> ClickLoader:
        """Return the batches of val, in order."""
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> ClickLoader:
        """Return the batches of test, in order."""
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[ClickBatch]:
        """Return the batches of ``predict_raw`` if given, else of ``predict_split``, in order."""
        if self.predict_keep and self._world_size > 1:
            raise ConfigurationError(
                f"data.predict_keep={list(self.predict_keep)}: with {self._world_size} processes that share the "
                "rows, columns cannot be kept. Give --trainer.devices 1."
            )
        if self.predict_raw is None:
            dataset, sampler = self._rows(self._predict_split, self.eval_batch_size)
            if self.predict_keep:
                self._kept = kept_of_split(self.folder, self._predict_split, self.predict_keep)
            return DataLoader(SelectionStream(dataset, sampler), batch_size=None)
        rows = RawLogDataset(
            STDIN if str(self.predict_raw) == "-" else Path(self.predict_raw),
            self.folder.encoder,
            self.eval_batch_size,
            truncate_lists=self._predict_truncate_lists,
            keep=self.predict_keep,
            rank=self._rank,
            world_size=self._world_size,
        )
        self._kept = rows.kept
        return DataLoader(rows, batch_size=None)

    def take_kept(self, rows: int) -> Any:
        """Return ``predict_keep`` of the next rows of ``predict_dataloader`` as an Arrow table."""
        assert self._kept is not None, "there are columns to keep, and predict_dataloader was called"
        return self._kept.take(rows)

    def calibration_dataloader(self) -> Batches:
        """Return the batches of the first rows of val; the same on every rank, since only one of them quantizes."""
        return self._range("calibration")

    def tuning_dataloader(self) -> Batches:
        """Return the batches of the remaining rows of val."""
        return self._range("tuning")

    def certification_dataloader(self) -> Batches:
        """Return the batches of test; the same on every rank."""
        return self._range("certification")

    @property
    def calibration_rows(self) -> int:
        """Number of rows at the beginning of val that are used for calibration; fewer if val is small."""
        return self._calibration_rows

    @calibration_rows.setter
    def calibration_rows(self, rows: int) -> None:
        self._calibration_rows = int(rows)
        self.__dict__.pop("row_ranges", None)

    @cached_property
    def row_ranges(self) -> Mapping[str, RowRange]:
        """Disjoint row ranges for calibration, tuning and certification, by name.

        Raises:
            DatasetError: val is too small to divide.
        """
        val, test = self.folder.splits["val"].records, self.folder.splits["test"].records
        if val < 2:
            raise DatasetError(
                f"{self.folder.split_path('val')}: {val} row is too few to divide into calibration and tuning rows."
            )
        rows = min(self._calibration_rows, max(1, int(val * _CALIBRATION_SHARE)))
        if rows < self._calibration_rows:
            log.info(
                "calibration uses %s rows, a tenth of val, instead of %s: val has only %s",
                f"{rows:,}",
                f"{self._calibration_rows:,}",
                f"{val:,}",
            )
        return {
            "calibration": RowRange("val", 0, rows),
            "tuning": RowRange("val", rows, val),
            "certification": RowRange("test", 0, test),
        }

    def row_identities(self) -> Mapping[str, str]:
        """Return a checksum each of the calibration and the tuning rows, by name."""
        return {
            name: self.folder.rows(rows.split).identity(rows.start, rows.stop, self._stated(rows.split))
            for name, rows in self.row_ranges.items()
            if name != "certification"  # The certification rows are read only once, after the search.
        }

    def certification_checksum(self) -> str:
        """Checksum of the certification rows; empty if the dataset states none and they are too many to read."""
        rows = self.row_ranges["certification"]
        return self.folder.rows(rows.split).checksum(rows.start, rows.stop, self._stated(rows.split))

    def _stated(self, split: Split) -> str | None:
        """Return the checksum of a split if its rows are checked by it when they are read, else None."""
        return None if self.folder.digests(split) is None else self.folder.splits[split].checksum

    def _range(self, name: str) -> Batches:
        rows = self.row_ranges[name]
        # The results of quantization depend on these rows, so each block is checked when it is read.
        dataset = ClickDataset.of_split(
            self.folder,
            rows.split,
            max_ind_range=self._max_ind_range,
            start=rows.start,
            stop=rows.stop,
            checked=True,
        )
        return dataset.batches(self.eval_batch_size)

    def _loader(self, split: Split, batch_size: int, shuffle: Shuffle = "none") -> ClickLoader:
        dataset, sampler = self._rows(split, batch_size, shuffle)
        return ClickLoader(dataset, sampler, self._num_workers)

    def _rows(self, split: Split, batch_size: int, shuffle: Shuffle = "none") -> tuple[ClickDataset, EpochSampler]:
        """Return a split and this rank's share of it."""
        dataset = ClickDataset.of_split(self.folder, split, max_ind_range=self._max_ind_range)
        sampler = EpochSampler(
            len(dataset), batch_size, shuffle, seed=self.seed, rank=self._rank, world_size=self._world_size
        )
        return dataset, sampler

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1
