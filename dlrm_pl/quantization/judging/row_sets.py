"""Disjoint rows that calibrate, tune and certify a quantized model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.errors import CalibrationError
from dlrm_pl.quantization.judging.quantization_data import QuantizationData, read_rows


@dataclass(frozen=True, repr=False)
class RowSets:
    """Three disjoint sets of rows, and the facts about them that a certificate states.

    Attributes:
        calibration: re-iterable batches that the observers see.
        tuning: re-iterable batches that trials are scored on.
        certification: batches that only the final model is scored on, once.
        row_ranges: split, first and last row of each set.
        dataset_fingerprint: fingerprint of the dataset.
        batch_size: rows per batch of tuning and certification.
        best_possible_auroc: AUROC of the true probabilities on the certification rows of synthetic data; None for real
            logs.
        other_dataset: how the dataset differs from the model's own, where that was forced; else empty.
        row_identities: identity of the rows of each set, see ``row_identity``; an interrupted search continues only
            with the same rows.
        certification_checksum: checksum of the certification rows; empty if unknown.
        columns: columns of the rows; None if unknown.

    Example:
        >>> from dlrm_pl import DLRMDataModule, RowSets
        >>> datamodule = DLRMDataModule("datasets/quickstart")
        >>> datamodule.setup("test")
        >>> list(RowSets.of_datamodule(datamodule).row_ranges)
        ['calibration', 'tuning', 'certification']
    """

    calibration: Iterable[ClickBatch]
    tuning: Iterable[ClickBatch]
    certification: Iterable[ClickBatch]
    row_ranges: Mapping[str, RowRange]
    dataset_fingerprint: str
    batch_size: int
    best_possible_auroc: float | None
    other_dataset: str = ""
    row_identities: Mapping[str, str] = field(default_factory=dict)
    certification_checksum: str = ""
    columns: Columns | None = None

    def __repr__(self) -> str:
        """The rows of each set, in one line."""
        return f"RowSets({', '.join(f'{name}: {rows}' for name, rows in self.row_ranges.items())})"

    def __post_init__(self) -> None:
        """Check that no row is in two sets.

        Raises:
            CalibrationError: two ranges overlap; the message names both.
        """
        for (first, first_range), (second, second_range) in combinations(self.row_ranges.items(), 2):
            if first_range.overlaps(second_range):
                raise CalibrationError(
                    f"The rows for {first} ({first_range}) and for {second} ({second_range}) overlap. A drop measured "
                    "on rows that were used before proves nothing: choose disjoint rows."
                )

    @classmethod
    def of_datamodule(cls, datamodule: QuantizationData, other_dataset: str = "") -> RowSets:
        """Return the row sets of a data module that is set up for testing.

        Args:
            datamodule: data module after ``setup("test")``. If it does not say which rows it gives, they are read once
                more, and are taken to be the first rows of val and of test.
            other_dataset: how the dataset differs from the model's own, where that was forced; else empty.

        Raises:
            ConfigurationError: a loader gives something other than batches that can be read again.
            DatasetError: there are no rows, or all have one label.
            CalibrationError: the tuning rows are the certification rows.
        """
        calibration, tuning = datamodule.calibration_dataloader(), datamodule.tuning_dataloader()
        certification = datamodule.certification_dataloader()
        fingerprint = getattr(datamodule, "dataset_fingerprint", "")
        columns = getattr(datamodule, "columns", None)
        best_possible = getattr(datamodule, "best_possible_auroc", None)
        if all(hasattr(datamodule, name) for name in ("row_ranges", "row_identities", "certification_checksum")):
            known: Any = datamodule
            return cls(
                calibration=calibration,
                tuning=tuning,
                certification=certification,
                row_ranges=known.row_ranges,
                row_identities=known.row_identities(),
                certification_checksum=known.certification_checksum(),
                dataset_fingerprint=fingerprint,
                batch_size=known.eval_batch_size,
                best_possible_auroc=None if best_possible is None else best_possible("test"),
                other_dataset=other_dataset,
                columns=columns,
            )
        sets = {"calibration": calibration, "tuning": tuning, "certification": certification}
        read = {name: read_rows(name, batches) for name, batches in sets.items()}
        if read["tuning"].checksum == read["certification"].checksum:
            raise CalibrationError(
                "tuning_dataloader() and certification_dataloader() return the same rows. A drop measured on rows "
                "that were used before proves nothing: give other rows."
            )
        first = read["calibration"].rows
        return cls(
            calibration=calibration,
            tuning=tuning,
            certification=certification,
            row_ranges={
                "calibration": RowRange("val", 0, first),
                "tuning": RowRange("val", first, first + read["tuning"].rows),
                "certification": RowRange("test", 0, read["certification"].rows),
            },
            row_identities={name: rows.checksum for name, rows in read.items() if name != "certification"},
            dataset_fingerprint=fingerprint,
            batch_size=max(read["tuning"].batch_size, read["certification"].batch_size),
            best_possible_auroc=None if best_possible is None else best_possible("test"),
            other_dataset=other_dataset,
            columns=columns,
        )
