"""Certify a quantized model: both models score the certification rows, and the drop is judged."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.verdict import judged
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.errors import ArtifactError
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.failure import SLIPS, describe_failure
from dlrm_pl.quantization.judging.certification import Certification, certify
from dlrm_pl.quantization.judging.certified_bound import JudgedBy
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.judging.slices.slice_rule import SliceRule
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.runtime.int8_dlrm import Int8DLRM, count_int8_ops

# Confidence of the certified bounds if the criterion itself asks for none.
_CONFIDENCE = 0.95


def certified(
    model: DLRM,
    served: Int8DLRM,
    result: TuningResult,
    data: RowSets,
    settings: TuningSettings,
    manifest: Manifest,
    score: str,
) -> tuple[Certificate, Certification | None]:
    """Score both models on the certification rows and judge them; the scores are unknown if scoring failed."""
    counted = count_int8_ops(served, next(iter(data.calibration)))
    if counted != served.expected_int8_ops():
        raise ArtifactError(
            f"The quantized model ran the integer ops {counted}, but its recipe has {served.expected_int8_ops()}. "
            "This is a bug in dlrm_pl or in this build of torch; no artifact was written."
        )
    criterion = settings.criterion
    confidence = criterion.confidence or _CONFIDENCE
    judged_by: JudgedBy = "estimate" if criterion.confidence is None or score != "AUROC" else "bound"
    rule = None
    if criterion.worst_slice is not None:
        rule = SliceRule.of_tuning_rows(
            data.tuning, criterion.worst_slice, criterion.first_block, confidence, judged_by, data.columns
        )
    certification, unscored, tolerance = None, "", math.nan
    try:
        certification = certify(model, served, data.certification, rule)
        measured = Certificate.measured(
            certification,
            confidence,
            judged_by,
            log_loss=criterion.log_loss,
            calibration_ratio=criterion.calibration_ratio,
        )
        tolerance = criterion.tolerance(certification.fp32.auroc)
    except SLIPS as error:  # The search is over: its model is kept, but nothing is certified.
        measured, unscored = Certificate.unmeasured(confidence, judged_by), describe_failure(error)
    verdict = result.best.verdict  # None if the recipe was given: the best trial is never a failed one.
    in_tuning = "" if verdict is None else f"; during tuning: {verdict.reason}"
    certificate = Certificate(
        **measured,
        score=score,
        tolerance=tolerance,
        outcome="not accepted",  # Until it is judged below.
        accepted=False,
        reason=f"the certification rows could not be scored: {unscored}{in_tuning}",
        rows_needed=None,
        row_ranges={name: asdict(rows) for name, rows in data.row_ranges.items()},
        batch_size=data.batch_size,
        seed=settings.seed,
        strategy=settings.strategy,
        trials=sum(not trial.unscored for trial in result.trials),
        stopped_because=result.stopped_because,
        recipe=manifest.recipe,
        int8_ops=counted,
        kernels=dict.fromkeys(counted, isa()),
        dataset_fingerprint=data.dataset_fingerprint,
        model_fingerprint=manifest.model_fingerprint,
        machine=manifest.machine,
        best_possible_auroc=data.best_possible_auroc,
        other_dataset=data.other_dataset,
        row_checksum=data.certification_checksum,
        model_checksum=manifest.model_checksum,
        columns=manifest.columns,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return certificate if certification is None else judged(certificate, verdict), certification
