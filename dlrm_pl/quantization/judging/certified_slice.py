"""The worst slice of the certification rows: the slices that the search was judged by, on rows that it never saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.auroc import exact_auroc
from dlrm_pl.metrics.logits import log_losses
from dlrm_pl.quantization.judging.certified_bound import CertifiedBound, JudgedBy, finite
from dlrm_pl.quantization.judging.slices import MOST_SLICES, Cut, Slices, WorstSlice, column_of, cut_on
from dlrm_pl.quantization.judging.worst_slice import measure_slices


@dataclass(frozen=True)
class SliceRule:
    """By what rows are grouped, and how much the group that loses most may lose.

    Attributes:
        guard: of the criterion.
        cut: of the tuning rows, so that a slice is the same in the trials and in the certificate.
        confidence: of the bounds and intervals.
        judged_by: whether bounds or estimates decide.
        watched: a slice whose scores are told whichever loses most; "" for none.
    """

    guard: WorstSlice
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
    ) -> SliceRule:
        """Cut as the search did.

        Args:
            batches: the rows that trials are scored on.
            guard: of the criterion.
            first_rows: that the search cut its slices on, ``Criterion.first_block``.
            confidence: of the bounds and intervals.
            judged_by: whether bounds or estimates decide.
        """
        cut = cut_on((column_of(batch, guard) for batch in batches), guard, first_rows)[0]
        return cls(guard, cut, confidence, judged_by)

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any], confidence: float, judged_by: JudgedBy = "bound") -> SliceRule:
        """As a certificate states it.

        Raises:
            ConfigurationError: it is none that was written here.
        """
        try:
            guard, kept = WorstSlice(**stated["guard"]), stated["cut"]
            dense = guard.column()[0] == "dense"
            edges = np.array(kept["edges"], np.float32 if dense else np.int64)
            names = tuple(str(name) for name in kept["names"])
            watched = "" if stated["worst"] is None else str(stated["worst"]["value"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConfigurationError(
                f"worst_slice of the certificate cannot be read ({error}). Quantize again."
            ) from error
        if edges.ndim != 1 or len(names) != len(edges) + 1 or len(names) > MOST_SLICES or np.any(np.diff(edges) <= 0):
            raise ConfigurationError(
                f"worst_slice of the certificate: {len(names)} names and the edges {edges.tolist()} make no slices of "
                f"{guard.by}. Quantize again."
            )
        if watched and watched not in names:
            raise ConfigurationError(
                f"worst_slice of the certificate: {watched!r} is none of its slices. Quantize again."
            )
        return cls(guard, Cut(names, edges, categorical=not dense), confidence, judged_by, watched)

    def slices_of(self, batch: ClickBatch) -> npt.NDArray[np.uint8]:
        """The slice of each row of a batch, ``[B]``."""
        return self.cut.numbers(column_of(batch, self.guard))

    def judge(
        self,
        before: npt.NDArray[np.float32],
        after: npt.NDArray[np.float32],
        labels: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.uint8],
    ) -> CertifiedSlice:
        """Find the slice that lost most, and bounds of what the worst one loses.

        Slices that could not tell a drop of the tolerance from none are left out, as in tuning. The worst of the others
        loses at least what any of them surely loses (they share the error of it, Bonferroni), and at most the largest
        of their upper bounds, of which each may have the whole error to itself (Berger 1982, see ``worst_slice.py``).

        Args:
            before: logits of the fp32 model, ``[rows]``.
            after: of the quantized model.
            labels: 0 or 1.
            numbers: the slice of each row.
        """
        error = 1 - self.confidence
        strict_error = error / self.guard.slices
        found, left_out = measure_slices(
            *(before, after, labels, Slices(self.cut.names, numbers), self.guard), strict_error=strict_error, last=True
        )
        worst = max(found, key=lambda one: one.drop, default=None)
        drop, bound = None, None
        if worst is not None:
            inside = numbers == self.cut.names.index(worst.name)
            reach = worst.reach(error / 2)
            drop = SliceDrop(
                value=worst.name,
                rows=worst.rows,
                clicks=worst.clicks,
                fp32=self.score(before[inside], labels[inside]),
                int8=self.score(after[inside], labels[inside]),
                drop=worst.drop,
                standard_error=worst.standard_error,
                interval=(worst.drop - reach, worst.drop + reach),
            )
            highest = max(found, key=lambda one: one.drop + one.reach(error))
            bound = CertifiedBound(
                estimate=highest.drop,
                low=max(one.drop - one.reach(strict_error) for one in found),
                high=highest.drop + highest.reach(error),
                rows=len(labels),
            )
        held = None
        if bound is not None and drop is not None:
            by_drop = CertifiedBound(drop.drop, bound.low, bound.high, bound.rows)
            held = by_drop.held(self.guard.tolerance, self.judged_by)
        return CertifiedSlice(
            column=self.column,
            guard=self.guard,
            cut=self.cut,
            worst=drop,
            judged=len(found),
            left_out=left_out,
            at_least=None if bound is None else finite(bound.low),
            at_most=None if bound is None else finite(bound.high),
            rows_needed=None if bound is None else bound.rows_needed(self.guard.tolerance),
            held=held,
            watched=self.watch({"fp32": before, "int8": after}, labels, numbers),
        )

    def watch(
        self,
        logits: Mapping[str, npt.NDArray[np.float32]],
        labels: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.uint8],
    ) -> dict[str, float]:
        """Rows, clicks and the score of each model on the slice that is watched; empty where none is.

        Raises:
            MetricError: its rows are of a single class, so they are not those that it was judged on.
        """
        if not self.watched:
            return {}
        inside = numbers == self.cut.names.index(self.watched)
        found: dict[str, float] = {"rows": int(inside.sum()), "clicks": int(labels[inside].sum())}
        return found | {model: self.score(scores[inside], labels[inside]) for model, scores in logits.items()}

    def score(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
        """Of the rows of one slice: AUROC or log loss, as the guard says."""
        if self.guard.score == "auroc":
            return exact_auroc(logits, labels)
        return float(log_losses(logits, labels).mean())

    @property
    def column(self) -> str:
        """Its name in the log, ``C14`` or ``I3``."""
        kind, index = self.guard.column()
        return f"{'I' if kind == 'dense' else 'C'}{index + 1}"


@dataclass(frozen=True)
class SliceDrop:
    """What one slice lost.

    Attributes:
        value: of the column, ``C14=7`` or ``2 <= I3 < 5``, as the trials name it.
        rows: of the certification rows in it.
        clicks: among them.
        fp32: score of the float model on them, AUROC or log loss.
        int8: of the quantized model.
        drop: relative to fp32's score; of an AUROC below one half relative to that.
        standard_error: of the drop, paired.
        interval: of the drop, two-sided. It is that of this slice by itself: the largest of several drops is rather
            too large than too small.
    """

    value: str
    rows: int
    clicks: int
    fp32: float
    int8: float
    drop: float
    standard_error: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class CertifiedSlice:
    """The guard of the worst slice on the certification rows.

    Attributes:
        column: that rows are grouped by, ``C14`` or ``I3``.
        guard: as the criterion had it, with its tolerance.
        cut: how values become slices.
        worst: the slice that lost most; None where each is too small to be judged.
        judged: how many slices were.
        left_out: how many were too small.
        at_least: the worst slice loses at least so much, with the confidence; None where none is judged.
        at_most: the worst slice loses at most so much.
        rows_needed: about how many certification rows would tell; None where nobody knows.
        held: the drop of the worst slice is within the tolerance; None: so few rows cannot tell.
        watched: rows, clicks and scores of the slice that the rule watches; not written.
    """

    column: str
    guard: WorstSlice
    cut: Cut
    worst: SliceDrop | None
    judged: int
    left_out: int
    at_least: float | None
    at_most: float | None
    rows_needed: int | None
    held: bool | None
    watched: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        worst = None
        if self.worst is not None:
            worst = asdict(self.worst) | {"interval": list(self.worst.interval)}
        return {
            "column": self.column,
            "worst": worst,
            "judged": self.judged,
            "left_out": self.left_out,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "rows_needed": self.rows_needed,
            "held": self.held,
            "guard": asdict(self.guard),
            "cut": {"names": list(self.cut.names), "edges": self.cut.edges.tolist()},
        }
