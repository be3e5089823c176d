"""Score the same rows with an artifact and with an exported model, and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import MetricError
from dlrm_pl.export.target import LogitsOf
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

TOLERANCE = 1e-6
"""Largest allowed difference of a logit, unless the user allows more."""

_AUROC_TOLERANCE = 5e-7  # Six digits are equal.


@dataclass(frozen=True)
class Check:
    """Comparison of an exported model with its artifact.

    Attributes:
        rows: number of rows that were scored.
        largest_difference: largest absolute difference of two logits.
        equal_share: share of the rows whose logits are equal, bit for bit.
        artifact_auroc: AUROC of the artifact; None where all labels are the same.
        auroc: AUROC of the exported model; None likewise.
        tolerance: allowed difference of a logit.
        programs: what ran the exported model.
    """

    rows: int
    largest_difference: float
    equal_share: float
    artifact_auroc: float | None
    auroc: float | None
    tolerance: float
    programs: str

    @property
    def failure(self) -> str:
        """What differs too much from the artifact, as a clause; "" if nothing does."""
        if not self.largest_difference <= self.tolerance:
            return f"a logit differs by {self.largest_difference:.3g}, but the tolerance is {self.tolerance:.3g}"
        if self.auroc is None or self.artifact_auroc is None or self.tolerance > TOLERANCE:
            return ""
        if abs(self.auroc - self.artifact_auroc) >= _AUROC_TOLERANCE:
            return f"the AUROC is {self.auroc:.8f}, but that of the artifact is {self.artifact_auroc:.8f}"
        return ""

    def describe(self) -> str:
        """Describe in one line how much the two differ."""
        auroc = "" if self.auroc is None else f"; AUROC {self.auroc:.6f}, artifact {self.artifact_auroc:.6f}"
        same = "all logits equal" if self.equal_share == 1 else f"{self.equal_share:.2%} of the logits equal"
        return (
            f"{self.rows:,} rows scored with {self.programs}: {same}, largest difference "
            f"{self.largest_difference:.3g}{auroc}"
        )


def check(
    model: Int8DLRM,
    exported: LogitsOf,
    batches: Iterable[ClickBatch],
    *,
    tolerance: float,
    programs: str,
    progress: Callable[[int], None] = lambda rows: None,
) -> Check:
    """Score the rows of all batches with both models, in 9 bytes of memory per row, for the AUROCs.

    Args:
        model: the artifact's model.
        exported: the exported one.
        batches: the rows, with labels.
        tolerance: allowed difference of a logit.
        programs: what runs the exported model.
        progress: called with the number of rows of each batch.
    """
    largest, rows, equal = 0.0, 0, 0
    wanted, found, labels = [], [], []
    for batch in batches:
        with torch.inference_mode():
            one, other = model(batch).numpy(), exported(batch).numpy()
        # NaN counts as a difference, too.
        difference = np.abs(other.astype(np.float64) - one)
        largest = max(largest, float(np.nan_to_num(difference, nan=np.inf).max(initial=0)))
        equal += int((one == other).sum())
        rows += len(one)
        wanted.append(one)
        found.append(other)
        labels.append(batch.known_labels.numpy().astype(np.uint8))
        progress(len(one))
    aurocs = [_auroc(scores, labels) for scores in (wanted, found)]
    return Check(rows, largest, equal / rows if rows else 1.0, aurocs[0], aurocs[1], tolerance, programs)


def _auroc(scores: list[np.ndarray], labels: list[np.ndarray]) -> float | None:
    values = np.concatenate(scores)
    if not np.isfinite(values).all():
        return None
    try:
        return float(exact_auroc(values, np.concatenate(labels)))
    except MetricError:  # All labels are the same.
        return None
