"""Certificate of an artifact: the measured drop, the rows and environment of the measurement, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dlrm_pl.artifact.certificate.drift import METRICS, Drift
from dlrm_pl.errors import VerificationError
from dlrm_pl.metrics.skill import skill_warnings
from dlrm_pl.quantization.judging.certified_bound import JudgedBy, bound_of_auroc, finite
from dlrm_pl.quantization.judging.certified_guard import CertifiedGuard
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice

if TYPE_CHECKING:  # Loading an artifact does not import torchmetrics, which takes a second.
    from dlrm_pl.quantization.judging.certification import Certification

Outcome = Literal["accepted", "not accepted", "undecided"]
SCORES = (*METRICS, "samples_per_s")
"""Names of the metrics of each model."""


@dataclass(frozen=True)
class Certificate:
    """The metrics of an artifact on the certification rows, and the verdict.

    Attributes:
        fp32: metrics of the float model on the certification rows; NaN (null in the file) if these rows could not be
            scored.
        int8: metrics of the artifact on the same rows; NaN likewise.
        auroc_drop: AUROC of fp32 minus that of int8; NaN likewise.
        auroc_drop_relative: the drop as a share of fp32's AUROC; NaN likewise, and if fp32's AUROC is 0.
        auroc_drop_interval: two-sided interval of ``auroc_drop`` at ``confidence``; None where a class has one row.
        auroc_drop_at_least: one-sided lower bound of the drop at ``confidence``; None where it is unknown.
        auroc_drop_at_most: one-sided upper bound, which is compared with the tolerance; None where it is unknown.
        auroc_drop_standard_error: standard error of the paired drop; None where a class has one row.
        degrees_of_freedom: degrees of freedom of Student's t in the bounds; None where both models order all rows
            alike, or a class has one row.
        bound_method: how the bounds were computed, see ``certified_bound.BoundMethod``; empty in certificates of
            format 2, which have none.
        confidence: confidence of each bound, and of the interval.
        judged_by: ``bound``; or ``estimate`` if the criterion has no confidence or the score no paired test, so that
            the drops themselves are compared with the tolerances.
        score: score by which trials were judged: AUROC, or the name of another score. A tolerance of another score does
            not apply to AUROC; then only the guards are judged on the certification rows.
        tolerance: tolerated drop in units of AUROC; NaN if it is relative to an AUROC of NaN.
        guards: log loss, normalized entropy and calibration ratio on the certification rows.
        outcome: ``accepted``, ``not accepted`` or ``undecided``, see ``verdict.py``.
        accepted: whether the outcome is ``accepted``.
        rows_needed: approximate number of certification rows that would decide an undecided outcome; None where that is
            unknown.
        reason: explanation of the outcome.
        rows: number of certification rows; 0 if they could not be scored.
        positives: number of clicks among them.
        row_ranges: rows and split of calibration, tuning and certification; no two overlap.
        batch_size: rows per batch when they were scored.
        seed: random seed of the search.
        strategy: strategy that proposed the recipe.
        trials: number of recipes that were tried on the tuning rows; 0 where the recipe of another artifact was kept.
        stopped_because: why the search ended.
        recipe: recipe of the artifact.
        int8_ops: integer ops counted in one forward pass.
        kernels: name of the kernels that ran each of them, one of ``dlrm_pl.kernels.int8.selection.ISAS``.
        dataset_fingerprint: fingerprint of the dataset.
        model_fingerprint: fingerprint of the float model, computed quickly from a sample of its rows.
        machine: processor, its features, and versions of the software.
        best_possible_auroc: AUROC of the true probabilities of synthetic data, on the same rows; None for real logs.
        other_dataset: how the dataset differs from the one that the float model was made for, where using it was
            forced; else "".
        created: date and time in UTC.
        worst_slice: the guard of the worst slice on the certification rows; None if no column was named, and in
            certificates that were written before this guard was judged on these rows.
        row_checksum: checksum of the certification rows; empty if their dataset states none and there were too many to
            read.
        model_checksum: checksum of all weights of the float model; empty in certificates of earlier versions.
        columns: columns of the rows, as ``Columns.statement`` returns them; empty in earlier versions, and for models
            whose data had none.

    Example:
        >>> from dlrm_pl import load_artifact
        >>> certificate = load_artifact("artifacts/quickstart").certificate
        >>> [guard.name for guard in certificate.guards]
        ['log_loss', 'normalized_entropy', 'calibration_ratio']
    """

    fp32: dict[str, float]
    int8: dict[str, float]
    auroc_drop: float
    auroc_drop_relative: float
    auroc_drop_interval: tuple[float, float] | None
    auroc_drop_at_least: float | None
    auroc_drop_at_most: float | None
    auroc_drop_standard_error: float | None
    degrees_of_freedom: float | None
    bound_method: Literal["student_t", "rule_of_three", "none", ""]
    confidence: float
    judged_by: JudgedBy
    score: str
    tolerance: float
    guards: tuple[CertifiedGuard, ...]
    outcome: Outcome
    accepted: bool
    reason: str
    rows_needed: int | None
    rows: int
    positives: int
    row_ranges: dict[str, dict[str, Any]]
    batch_size: int
    seed: int
    strategy: str
    trials: int
    stopped_because: str
    recipe: dict[str, Any]
    int8_ops: dict[str, int]
    kernels: dict[str, str]
    dataset_fingerprint: str
    model_fingerprint: str
    machine: dict[str, Any]
    best_possible_auroc: float | None
    other_dataset: str
    created: str
    worst_slice: CertifiedSlice | None = None
    row_checksum: str = ""
    model_checksum: str = ""
    columns: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def measured(
        certification: Certification,
        confidence: float,
        judged_by: JudgedBy,
        *,
        log_loss: float | None,
        calibration_ratio: float | None,
    ) -> dict[str, Any]:
        """Return the fields that result from scoring; guards are judged by the given tolerances."""
        paired = certification.paired
        bound, method = bound_of_auroc(paired, confidence)
        guards = certification.guards(confidence, judged_by, log_loss=log_loss, calibration_ratio=calibration_ratio)
        return {
            "fp32": asdict(certification.fp32),
            "int8": asdict(certification.int8),
            "auroc_drop": paired.difference,
            "auroc_drop_relative": paired.difference / paired.first if paired.first else math.nan,
            "auroc_drop_interval": paired.interval(confidence) if math.isfinite(paired.standard_error) else None,
            "auroc_drop_at_least": finite(bound.low),
            "auroc_drop_at_most": finite(bound.high),
            "auroc_drop_standard_error": finite(paired.standard_error),
            "degrees_of_freedom": finite(paired.degrees_of_freedom),
            "bound_method": method,
            "confidence": confidence,
            "judged_by": judged_by,
            "guards": guards,
            "rows": certification.rows,
            "positives": certification.positives,
            "worst_slice": certification.worst_slice,
        }

    @staticmethod
    def unmeasured(confidence: float, judged_by: JudgedBy) -> dict[str, Any]:
        """Return the fields that would result from scoring, for rows that could not be scored."""
        return {
            "fp32": dict.fromkeys(SCORES, math.nan),
            "int8": dict.fromkeys(SCORES, math.nan),
            "auroc_drop": math.nan,
            "auroc_drop_relative": math.nan,
            "auroc_drop_interval": None,
            "auroc_drop_at_least": None,
            "auroc_drop_at_most": None,
            "auroc_drop_standard_error": None,
            "degrees_of_freedom": None,
            "bound_method": "none",
            "confidence": confidence,
            "judged_by": judged_by,
            "guards": (),
            "rows": 0,
            "positives": 0,
            "worst_slice": None,
        }

    @property
    def warnings(self) -> list[str]:
        """Warnings that a model is no better than chance or miscalibrated; one per kind, for fp32 if both have it."""
        return self.warnings_but(())

    def warnings_but(self, known_of_fp32: Collection[str]) -> list[str]:
        """Return ``warnings`` without those of the fp32 model whose kinds are already known."""
        fp32, int8 = (
            {
                warning.kind: warning.text
                for warning in skill_warnings(
                    scores, model=f"the {model} model", split="test", rows=self.rows, clicks=self.positives
                )
            }
            for model, scores in (("fp32", self.fp32), ("int8", self.int8))
        )
        texts = int8 | fp32
        return [texts[kind] for kind in texts if kind not in fp32 or kind not in known_of_fp32]

    def __repr__(self) -> str:
        """Show outcome, AUROC and number of rows in one line."""
        auroc = " -> ".join(f"{scores['auroc']:.6f}" for scores in (self.fp32, self.int8))
        return f"Certificate({self.outcome}, AUROC {auroc}, {self.rows:,} rows)"

    def check(self, drift: Drift, rows: int, tolerance: float) -> None:
        """Raise if recomputed metrics differ from the certified ones.

        Args:
            drift: certified and recomputed metrics.
            rows: number of rows that they were recomputed on.
            tolerance: allowed difference of each metric; processors round sums of floats differently.

        Raises:
            VerificationError: they differ; the message names the metric, both values, and the differences of the
                environment.
        """
        if rows != self.rows:
            raise VerificationError(f"Certified on {self.rows} rows, but the dataset has {rows} in that range.")
        if drifted := drift.beyond(tolerance):
            metric = drift.metrics[drifted[0]]
            model, _, name = drifted[0].partition(" ")
            raise VerificationError(
                f"{name} of the {model} model: certified {metric.certified:.8f}, recomputed {metric.recomputed:.8f}; "
                f"they differ by more than {tolerance:g}. {drift.describe()}. Quantize again on this machine to get "
                "a certificate for it, or give a larger --tolerance."
            )
