"""Worst slice of the certification rows, as stated in a certificate."""

from __future__ import annotations

from dataclasses import dataclass

from dlrm_pl.documents.fields import Count
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.judging.slices.cuts import MOST_SLICES, Cut, WorstSlice


@dataclass(frozen=True)
class SliceScores:
    """Scores of one or both models on one slice.

    Attributes:
        rows: number of rows in the slice.
        clicks: number of clicks among them.
        scores: AUROC or log loss by model, ``fp32`` and ``int8``.
    """

    rows: int
    clicks: int
    scores: dict[str, float]


@dataclass(frozen=True)
class SliceDrop:
    """Drop of the score on one slice.

    Attributes:
        value: the slice as the trials name it, such as ``C14=7`` or ``2 <= I3 < 5``.
        rows: number of certification rows in it.
        clicks: number of clicks among them.
        fp32: score of the float model on them, AUROC or log loss.
        int8: score of the quantized model.
        drop: drop relative to fp32's score, or to one half for an AUROC below one half.
        standard_error: paired standard error of the drop.
        interval: two-sided interval of the drop. It holds for this slice alone: as the largest of several drops, the
            drop is more likely too large than too small.
    """

    value: str
    rows: Count
    clicks: Count
    fp32: float
    int8: float
    drop: float
    standard_error: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class CertifiedSlice:
    """Guard on the worst slice of the certification rows.

    Attributes:
        column: name of the column that rows are grouped by, such as ``C14`` or ``I3``.
        worst: the slice that lost most; None if every slice is too small to be judged.
        judged: number of slices that were judged.
        too_small: number of slices that were too small.
        passed: whether the drop of the worst slice is within the tolerance; None: too few rows to decide.
        guard: the criterion's guard, with its tolerance.
        cut: how values become slices.
        at_least: one-sided lower bound of the drop of the worst slice at the certificate's confidence; None where no
            slice is judged, and in certificates of format 2.
        at_most: one-sided upper bound; None in the same cases.
        rows_needed: approximate number of certification rows that would decide; None where that is unknown.

    Example:
        >>> from dlrm_pl import load_artifact
        >>> load_artifact("artifacts/quickstart").certificate.worst_slice is None  # As it was not asked for.
        True
    """

    column: str
    worst: SliceDrop | None
    judged: Count
    too_small: Count
    passed: bool | None
    guard: WorstSlice
    cut: Cut
    at_least: float | None = None
    at_most: float | None = None
    rows_needed: Count | None = None

    def __post_init__(self) -> None:
        """Check that there are not too many slices, and that the worst slice is one of them.

        Raises:
            ConfigurationError: there are too many, or it is not, as in an edited file.
        """
        if len(self.cut.names) > MOST_SLICES:
            raise ConfigurationError(
                f"worst_slice.cut: there are {len(self.cut.names)} slices, more than {MOST_SLICES}."
            )
        if self.worst is not None and self.worst.value not in self.cut.names:
            raise ConfigurationError(f"worst_slice.worst.value: {self.worst.value!r} is not one of the slices.")
