"""The rows that a quantization is made from, each for one purpose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.loading.datamodule import RowRange
from dlrm_pl.errors import CalibrationError


@dataclass(frozen=True)
class RowSets:
    """The three disjoint sets of rows, and what the certificate says of them.

    Attributes:
        calibration: re-iterable batches that the observers see.
        tuning: re-iterable batches that trials are scored on.
        certification: batches that only the final model is scored on, once.
        row_ranges: which rows these are.
        dataset_fingerprint: of the dataset.
        batch_size: of tuning and certification.
        best_possible_auroc: on the certification rows of synthetic data; None for real logs.
        other_dataset: how the dataset differs from the model's own, where that was forced; else "".
        row_identities: what tells the rows of each range from others, see ``row_identity``; a search that was
            interrupted goes on with the same ones alone.
        certification_checksum: of the certification rows; empty where it is not known.
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

    def __post_init__(self) -> None:
        """Check that no row serves two purposes.

        Raises:
            CalibrationError: two ranges overlap; names both.
        """
        for (first, one), (second, other) in combinations(self.row_ranges.items(), 2):
            if one.overlaps(other):
                raise CalibrationError(
                    f"The rows for {first} ({one}) and for {second} ({other}) overlap. A drop measured on rows that "
                    "were used before proves nothing: choose disjoint rows."
                )
