"""Judge the certification rows by the same slices as the search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.metrics.logits import log_losses
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.quantization.judging.bounds import Bounds
from dlrm_pl.quantization.judging.certified_bound import CertifiedBound, JudgedBy, finite
from dlrm_pl.quantization.judging.paired_scores import PairedScores
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice, SliceDrop, SliceScores
from dlrm_pl.quantization.judging.slices.cuts import Cut, Slices, WorstSlice, cut_on
from dlrm_pl.quantization.judging.slices.slice_column import SliceColumn
from dlrm_pl.quantization.judging.slices.worst_slice import measure_slices


@dataclass(frozen=True)
class SliceRule:
    """Rule for the worst slice: how rows are grouped, and how large its drop may be.

    Attributes:
        guard: the criterion's guard of the worst slice.
        column: the guard's column.
        cut: how values become slices, determined on the tuning rows, so that trials and certificate have the same
            slices.
        confidence: confidence of the bounds and intervals.
        judged_by: whether bounds or estimates decide.
        watched: a slice whose scores are returned even if it is not the worst; "" for none.
    """

    guard: WorstSlice
    column: SliceColumn
    cut: Cut
    confidence: float
    judged_by: JudgedBy = "bound"
    watched: str = ""

    @classmethod
    def of_tuning_rows(
        cls,
        batches: Iterable[ClickBatch],
        guard: WorstSlice,
        first_rows: int,
        confidence: float,
        judged_by: JudgedBy = "bound",
        columns: Columns | None = None,
    ) -> SliceRule:
        """Return the rule of a search, with its slices of the tuning rows.

        Args:
            batches: the rows that trials are scored on.
            guard: the criterion's guard of the worst slice.
            first_rows: number of rows on which the search determined its slices, ``Criterion.first_block``.
            confidence: confidence of the bounds and intervals.
            judged_by: whether bounds or estimates decide.
            columns: columns of the rows; None if unknown.
        """
        column = SliceColumn.find(guard.by, columns)
        cut = cut_on((column.values(batch) for batch in batches), column, guard.slices, first_rows)[0]
        return cls(guard, column, cut, confidence, judged_by)

    @classmethod
    def of_certificate(
        cls, certified: CertifiedSlice, confidence: float, judged_by: JudgedBy, columns: Columns | None = None
    ) -> SliceRule:
        """Return the rule of a certificate; it watches the certificate's worst slice.

        Args:
            certified: the worst slice in the certificate.
            confidence: confidence of the certificate.
            judged_by: whether bounds or estimates decide in the certificate.
            columns: columns of the rows; None if unknown.
        """
        watched = "" if certified.worst is None else certified.worst.value
        column = SliceColumn.find(certified.guard.by, columns)
        return cls(certified.guard, column, certified.cut, confidence, judged_by, watched)

    def slices_of(self, batch: ClickBatch) -> npt.NDArray[np.uint8]:
        """Return the slice of each row of a batch, ``[B]``."""
        return self.cut.numbers(self.column.values(batch))

    def judge(self, scores: PairedScores, numbers: npt.NDArray[np.uint8]) -> CertifiedSlice:
        """Find the slice with the largest drop, and bound the drop of the worst slice.

        As in tuning, slices too small to resolve a drop as large as the tolerance are not judged. The drop of the worst
        of the others is at least the largest of their lower bounds, which share the error probability (Bonferroni), and
        at most the largest of their upper bounds, each of which may use the whole error probability (Berger 1982, see
        ``worst_slice.py``).

        Args:
            scores: scores of both models.
            numbers: the slice of each row, ``[rows]``.
        """
        bounds = Bounds(1 - self.confidence, self.guard.slices, last=True)
        measured, too_small = measure_slices(scores, Slices(self.cut.names, numbers), self.guard, bounds)
        if not measured:
            return self._certified(too_small=too_small)
        worst = max(measured, key=lambda part: part.drop)
        inside = numbers == self.cut.names.index(worst.name)
        drop = SliceDrop(
            value=worst.name,
            rows=worst.rows,
            clicks=worst.clicks,
            fp32=self.score(scores.before[inside], scores.labels[inside]),
            int8=self.score(scores.after[inside], scores.labels[inside]),
            drop=worst.drop,
            standard_error=worst.standard_error,
            interval=worst.interval(bounds),
        )
        low = max(part.at_least(bounds) for part in measured)
        highest = max(measured, key=lambda part: part.at_most(bounds))
        high = highest.at_most(bounds)
        tolerance = self.guard.tolerance
        return self._certified(
            worst=drop,
            judged=len(measured),
            too_small=too_small,
            at_least=finite(low),
            at_most=finite(high),
            rows_needed=CertifiedBound(highest.drop, low, high, len(scores)).rows_needed(tolerance),
            passed=CertifiedBound(drop.drop, low, high, len(scores)).within(tolerance, self.judged_by),
        )

    def _certified(
        self,
        *,
        worst: SliceDrop | None = None,
        judged: int = 0,
        too_small: int,
        at_least: float | None = None,
        at_most: float | None = None,
        rows_needed: int | None = None,
        passed: bool | None = None,
    ) -> CertifiedSlice:
        return CertifiedSlice(
            column=self.column.name,
            worst=worst,
            judged=judged,
            too_small=too_small,
            passed=passed,
            guard=self.guard,
            cut=self.cut,
            at_least=at_least,
            at_most=at_most,
            rows_needed=rows_needed,
        )

    def watch(
        self,
        logits: Mapping[str, npt.NDArray[np.float32]],
        labels: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.uint8],
    ) -> SliceScores | None:
        """Return the scores on the watched slice; None if no slice is watched.

        Args:
            logits: logits by model, ``[rows]`` each.
            labels: 0 or 1, ``[rows]``.
            numbers: the slice of each row, ``[rows]``.

        Raises:
            MetricError: all rows of the slice have the same label, so they are not the rows that were judged.
        """
        if not self.watched:
            return None
        inside = numbers == self.cut.names.index(self.watched)
        scores = {model: self.score(values[inside], labels[inside]) for model, values in logits.items()}
        return SliceScores(rows=int(inside.sum()), clicks=int(labels[inside].sum()), scores=scores)

    def score(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
        """Return the guard's score, AUROC or log loss, of the rows of one slice."""
        if self.guard.score == "auroc":
            return exact_auroc(logits, labels)
        return float(log_losses(logits, labels).mean())
