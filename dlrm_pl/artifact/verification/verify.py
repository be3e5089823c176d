"""Verify a certificate: score the same rows again, on this machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.drift import Drift
from dlrm_pl.artifact.certificate.verdict import doubts, failures
from dlrm_pl.artifact.store import Artifact, load_artifact
from dlrm_pl.artifact.verification.originals import certified_rows, float_model
from dlrm_pl.batch import ClickBatch
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError, VerificationError
from dlrm_pl.files.watched import Watch
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.certification import Certification, ModelScores, Run, certify
from dlrm_pl.quantization.judging.slices.certified_slice import SliceScores
from dlrm_pl.quantization.judging.slices.slice_rule import SliceRule
from dlrm_pl.runtime.cpu import describe_machine, with_present_names
from dlrm_pl.runtime.int8_dlrm import count_int8_ops


@dataclass(frozen=True, repr=False)
class Verification:
    """Result of a verification.

    Attributes:
        int8: recomputed metrics of the quantized model.
        int8_ops: integer ops counted in one forward pass.
        rows: number of rows that were scored.
        certificate: the certificate as stated; with the re-measured drop and guards if the float model was given.
        measured_drop: whether the drop and the guards were re-measured.
        drift: differences of the environment, and every metric that was recomputed.
        checked: description of the dataset's files that were compared with their checksums.

    Example:
        >>> from dlrm_pl import verify_artifact
        >>> verification = verify_artifact("artifacts/quickstart", "datasets/quickstart")
        >>> verification.measured_drop  # It is with ckpt_path="runs/quickstart/model.ckpt".
        False
    """

    int8: ModelScores
    int8_ops: dict[str, int]
    rows: int
    certificate: Certificate
    measured_drop: bool
    drift: Drift
    checked: str

    def __repr__(self) -> str:
        """The rows, the largest drift, and whether the drop was re-measured, in one line."""
        return f"Verification(rows={self.rows}, drift={self.drift.largest:.3g}, measured_drop={self.measured_drop})"


def verify_artifact(
    artifact: Artifact | str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    ckpt_path: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    tolerance: float = 1e-4,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Score the certification rows again and compare with the certificate.

    Args:
        artifact: the artifact folder, or an artifact loaded with ``checksums="always"``.
        data: the dataset folder.
        ckpt_path: checkpoint of the float model; when given, its metrics, the drop and the guards are re-measured, and
            the verdict has to be the same.
        batch_size: rows per batch; None: as certified.
        tolerance: allowed absolute difference of each metric.
        force: accept a dataset other than the one that the artifact was made for.
        progress: called with the number of rows of each batch that was scored.

    Raises:
        VerificationError: a metric, the rows, the integer ops or the verdict differ from the certificate; or the
            certification rows were never scored.
        DatasetError: it is another dataset.
        CheckpointError: the checkpoint is not the one that the artifact was made from.
        ConfigurationError: a tolerance or a batch size is out of range.

    Example:
        >>> from dlrm_pl import verify_artifact
        >>> verify_artifact("artifacts/quickstart", "datasets/quickstart").drift.largest
        0.0
    """
    if not 0 <= tolerance < float("inf"):
        raise ConfigurationError(f"tolerance={tolerance} must be a non-negative number.")
    check_arguments(verify_artifact, {"artifact": artifact, "data": data, "ckpt_path": ckpt_path})
    if not isinstance(artifact, Artifact):
        artifact = load_artifact(artifact, checksums="always")
    certificate = artifact.certificate
    if not certificate.rows:
        raise VerificationError(
            f"{artifact.path}: there is nothing to verify, since no rows were scored for its certificate: "
            f"{certificate.reason}."
        )
    dataset, checked = certified_rows(artifact, Path(data), force)
    batches = dataset.batches(certificate.batch_size if batch_size is None else batch_size)
    ops = count_int8_ops(artifact.model, next(iter(batches)))
    if ops != certificate.int8_ops:
        raise VerificationError(
            f"One forward pass ran the integer ops {ops}, but {certificate.int8_ops} were certified."
        )
    if ckpt_path is None:
        measured = _score_int8(artifact, _counted(batches, progress, artifact.watch))
    else:
        model = float_model(Path(ckpt_path), certificate)
        measured = _score_both(artifact, model, _counted(batches, progress, artifact.watch, model.watch))
    drift = Drift.between(
        with_present_names(certificate.machine),
        describe_machine(),
        measured.metrics,
        others=_of_worst_slice(certificate, measured.worst_slice),
    )
    certificate.check(drift, measured.rows, tolerance)
    if certificate.accepted and (wrong := failures(measured.certificate) + doubts(measured.certificate)):
        raise VerificationError(f"Certified as accepted, but measured again: {'; '.join(wrong)}. {drift.describe()}.")
    return Verification(
        int8=measured.int8,
        int8_ops=ops,
        rows=measured.rows,
        certificate=measured.certificate,
        measured_drop=ckpt_path is not None,
        drift=drift,
        checked=f"{checked}, and the dictionaries against the fingerprint",
    )


@dataclass(frozen=True)
class _Measured:
    """Metrics of the certification rows as scored again.

    Attributes:
        metrics: metrics by model, certified and recomputed.
        int8: recomputed metrics of the quantized model.
        rows: number of rows that were scored.
        certificate: the certificate with the drop and the guards as re-measured; as stated where they were not.
        worst_slice: scores on the slice that the certificate states as the worst.
    """

    metrics: dict[str, tuple[dict[str, float], dict[str, float]]]
    int8: ModelScores
    rows: int
    certificate: Certificate
    worst_slice: SliceScores | None


def _slice_rule(artifact: Artifact) -> SliceRule | None:
    stated = artifact.certificate
    if stated.worst_slice is None:
        return None
    return SliceRule.of_certificate(stated.worst_slice, stated.confidence, stated.judged_by, artifact.columns)


def _score_int8(artifact: Artifact, batches: Iterable[ClickBatch]) -> _Measured:
    """Score the quantized model alone."""
    certificate = artifact.certificate
    rule, run = _slice_rule(artifact), Run(artifact.model)
    numbers: list[npt.NDArray[np.uint8]] = []
    for batch in batches:
        run.score(batch)
        if rule is not None:
            numbers.append(rule.slices_of(batch))
    int8 = run.scores()
    return _Measured(
        metrics={"int8": (certificate.int8, asdict(int8))},
        int8=int8,
        rows=len(run.labels),
        certificate=certificate,
        worst_slice=None if rule is None else rule.watch({"int8": run.logits}, run.labels, np.concatenate(numbers)),
    )


def _score_both(artifact: Artifact, model: DLRM, batches: Iterable[ClickBatch]) -> _Measured:
    """Certify again, with the float model."""
    certificate = artifact.certificate
    certification = certify(model, artifact.model, batches, _slice_rule(artifact))
    return _Measured(
        metrics={
            "fp32": (certificate.fp32, asdict(certification.fp32)),
            "int8": (certificate.int8, asdict(certification.int8)),
        },
        int8=certification.int8,
        rows=certification.rows,
        certificate=_measured_again(certificate, certification),
        worst_slice=certification.watched,
    )


def _of_worst_slice(certificate: Certificate, measured: SliceScores | None) -> dict[str, tuple[float, float]]:
    """Return the certified and the recomputed scores of the certificate's worst slice.

    Raises:
        VerificationError: the slice has other rows or clicks than certified.
    """
    if measured is None:
        return {}
    assert certificate.worst_slice is not None
    assert certificate.worst_slice.worst is not None
    stated, score = certificate.worst_slice.worst, certificate.worst_slice.guard.score
    for name, certified, count in (("rows", stated.rows, measured.rows), ("clicks", stated.clicks, measured.clicks)):
        if certified != count:
            raise VerificationError(
                f"Slice {stated.value}: certified with {certified} {name}, but the dataset has {count}."
            )
    certified_scores = {"fp32": stated.fp32, "int8": stated.int8}
    return {
        f"{model} {score} of {stated.value}": (certified_scores[model], value)
        for model, value in measured.scores.items()
    }


def _measured_again(certificate: Certificate, certification: Certification) -> Certificate:
    """The certificate with what was measured now; its tolerances stay as they were set."""
    tolerances = {guard.name: guard.tolerance for guard in certificate.guards}
    measured = Certificate.measured(
        certification,
        certificate.confidence,
        certificate.judged_by,
        log_loss=tolerances.get("log_loss"),
        calibration_ratio=tolerances.get("calibration_ratio"),
    )
    return dataclasses.replace(certificate, **measured)


def _counted(
    batches: Iterable[ClickBatch], progress: Callable[[int], None] | None, *watches: Watch
) -> Iterator[ClickBatch]:
    """Yield the batches; in between, and always at the end, check that the files behind the models are unchanged."""
    for batch in batches:
        yield batch
        for watch in watches:
            watch.glance()
        if progress is not None:
            progress(batch.num_samples)
    for watch in watches:
        watch.check()
