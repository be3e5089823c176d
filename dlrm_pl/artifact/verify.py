"""Check a certificate again: same rows, this machine."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.drift import Drift
from dlrm_pl.artifact.certificate.verdict import doubts, failures
from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.artifact.store import Artifact
from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.row_identity import checksum_of_rows
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import CheckpointError, ConfigurationError, DatasetError, VerificationError
from dlrm_pl.files.watched import Watch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.tensors import check_tensors
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.quantization.judging.certification import Certification, ModelScores, Run, certify
from dlrm_pl.quantization.judging.certified_slice import SliceScores
from dlrm_pl.quantization.judging.slice_rule import SliceRule
from dlrm_pl.runtime.cpu import describe_machine, with_present_names
from dlrm_pl.runtime.int8_dlrm import count_int8_ops

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        int8: recomputed metrics.
        int8_ops: integer ops counted in one forward pass.
        rows: scored.
        certificate: as stated, with the drop and the guards measured anew when the float model was given.
        measured_drop: whether they were.
        drift: of the machine and of every metric that was recomputed.
        checked: what of the dataset was compared with its checksums, in words.
    """

    int8: ModelScores
    int8_ops: dict[str, int]
    rows: int
    certificate: Certificate
    measured_drop: bool
    drift: Drift
    checked: str


def open_dataset(path: Path, artifact: Artifact, force: bool = False, *, rows: bool = True) -> DatasetFolder:
    """Open the dataset that an artifact was made for; with ``force`` another one, if no table of it is larger.

    ``rows=False`` where only its dictionaries are needed.

    Raises:
        DatasetError: another dataset; names the table and both sizes where they differ.
        DataFormatError: a block of rows, of those that are looked at here, is not what was written.
    """
    folder = DatasetFolder.open(path, rows=rows)
    log.info("%s: checked %s; `inspect --full true` checks all", path, folder.check_samples())
    if force:
        architecture = Architecture.from_dict(artifact.manifest.architecture)
        contract = CheckpointContract(architecture, artifact.manifest.dataset_fingerprint)
        if difference := contract.check_usable(folder.table_sizes, folder.fingerprint):
            log.warning("%s: %s. Goes on with it, as it was told to.", path, difference)
        return folder
    sizes = artifact.manifest.architecture["table_sizes"]
    for table, (expected, found) in enumerate(zip(sizes, folder.table_sizes, strict=False)):
        if expected != found:
            raise DatasetError(
                f"{path}: table {table}: the artifact {artifact.path} has {expected} rows, the dataset {found}. "
                "Name the dataset that it was quantized with."
            )
    if folder.fingerprint != artifact.manifest.dataset_fingerprint:
        raise DatasetError(
            f"{path}: its fingerprint is {folder.fingerprint}, the artifact {artifact.path} was made for "
            f"{artifact.manifest.dataset_fingerprint}: the same ids would mean other categories."
        )
    return folder


def verify_artifact(
    artifact: Artifact,
    data: Path,
    *,
    ckpt_path: Path | None = None,
    batch_size: int | None = None,
    tolerance: float = 1e-4,
    force: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Verification:
    """Score the certification rows again and compare.

    Args:
        artifact: loaded with ``checksums="always"``.
        data: the dataset folder.
        ckpt_path: the float model; when given, its metrics, the drop and the guards are measured anew, and the
            verdict has to be the same.
        batch_size: as certified when None.
        tolerance: allowed difference of each metric.
        force: take another dataset than the artifact was made for.
        progress: told how many rows were scored.

    Raises:
        VerificationError: a metric, the rows, the integer ops or the verdict are not as certified; or nothing is.
        DatasetError: another dataset.
        CheckpointError: the checkpoint is not the one that the artifact was made from.
        ConfigurationError: a tolerance or a batch size out of range, or a worst slice that is stated of no slices.
    """
    if not 0 <= tolerance < float("inf"):
        raise ConfigurationError(f"tolerance={tolerance} of a metric must be a number from 0 on.")
    certificate = artifact.certificate
    if not certificate.rows:
        raise VerificationError(f"{artifact.path}: certifies nothing that could be verified: {certificate.reason}.")
    folder = open_dataset(data, artifact, force)
    rows = certificate.row_ranges["certification"]
    folder.check_dictionaries()
    checked = folder.check_split(rows["split"])
    if not force and _check_same_rows(certificate, folder) and folder.splits[rows["split"]].checksum is None:
        checked = f"all {rows['split']} rows by the checksum in the certificate"
    dataset = ClickDataset.of_split(folder, rows["split"], start=rows["start"], stop=rows["stop"])
    batches = dataset.batches(certificate.batch_size if batch_size is None else batch_size)
    ops = count_int8_ops(artifact.model, next(iter(batches)))
    if ops != certificate.int8_ops:
        raise VerificationError(f"One forward pass ran the integer ops {ops}, certified are {certificate.int8_ops}.")
    stated_and_found: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    rule = None
    if certificate.worst_slice is not None:
        rule = SliceRule.of_certificate(certificate.worst_slice, certificate.confidence, certificate.judged_by)
    numbers: list[npt.NDArray[np.uint8]] = []
    watched: SliceScores | None = None
    if ckpt_path is None:
        run = Run(artifact.model)
        for batch in _counted(batches, progress, artifact.watch):
            run.score(batch)
            if rule is not None:
                numbers.append(rule.slices_of(batch))
        if rule is not None:
            watched = rule.watch({"int8": run.logits}, run.labels, np.concatenate(numbers))
        int8, scored = run.scores(), len(run.labels)
        found = certificate
    else:
        model = float_model(ckpt_path, certificate)
        certification = certify(model, artifact.model, _counted(batches, progress, artifact.watch, model.watch), rule)
        watched = certification.watched
        int8, scored = certification.int8, certification.rows
        stated_and_found["fp32"] = certificate.fp32, asdict(certification.fp32)
        found = _measured_anew(certificate, certification)
    stated_and_found["int8"] = certificate.int8, asdict(int8)
    drift = Drift.between(
        *(with_present_names(certificate.machine), describe_machine(), stated_and_found),
        others=_of_worst_slice(certificate, watched),
    )
    certificate.check(drift, scored, tolerance)
    if certificate.accepted and (broken := failures(found) + doubts(found)):
        raise VerificationError(
            f"Certified as accepted, but measured anew {'; '.join(broken)}. Here {drift.describe()}."
        )
    return Verification(
        int8=int8,
        int8_ops=ops,
        rows=scored,
        certificate=found,
        measured_drop=ckpt_path is not None,
        drift=drift,
        checked=f"{checked}, and the dictionaries by the fingerprint",
    )


def float_model(path: Path, certificate: Certificate) -> DLRM:
    """The model of a checkpoint, all weights of which have to be those that were quantized.

    Raises:
        CheckpointError: unreadable, damaged, or another one.
    """
    model = load_dlrm(path)
    assert model.weights_file is not None  # It was just loaded from one.
    tensors = model.weights_file.tensors
    found, expected, what = model_fingerprint(model), certificate.model_fingerprint, "fingerprint"
    if found == expected and certificate.model_checksum:  # Certificates of earlier versions state none.
        found, expected = model_checksum(model, parameter_checksums(model, tensors)), certificate.model_checksum
        what = "checksum"
    else:
        check_tensors((tensor, name) for name, tensor in tensors.items())  # Damaged, or another one?
    if found != expected:
        raise CheckpointError(
            f"{path}: its {what} is {found}, the artifact was made from {expected}. Name the checkpoint that it was "
            "quantized from."
        )
    return model


def _check_same_rows(certificate: Certificate, folder: DatasetFolder) -> bool:
    """Check that the rows are those that were certified; returns whether it is known what both are.

    Raises:
        DatasetError: other rows; names the file.
    """
    rows, stated = certificate.row_ranges["certification"], certificate.row_checksum
    path, split = folder.split_path(rows["split"]), folder.splits[rows["split"]]
    found = checksum_of_rows(path, rows["start"], rows["stop"], split.checksum)
    if not stated or not found:
        return False
    if stated != found:
        raise DatasetError(
            f"{path}: its rows {rows['start']:,} to {rows['stop'] - 1:,} are not those that were certified: their "
            f"checksum is {found}, the certificate says {stated}. Name the dataset that it was quantized with."
        )
    return True


def _of_worst_slice(certificate: Certificate, measured: SliceScores | None) -> dict[str, tuple[float, float]]:
    """Scores of the slice that is stated as the worst, certified and recomputed.

    Raises:
        VerificationError: it has other rows or clicks than certified.
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


def _measured_anew(certificate: Certificate, certification: Certification) -> Certificate:
    """The certificate with what these rows say now; its tolerances stay as they were set."""
    tolerances = {guard.name: guard.tolerance for guard in certificate.guards}
    measured = Certificate.measured(
        certification,
        certificate.confidence,
        certificate.judged_by,
        log_loss=tolerances.get("log_loss"),
        calibration_ratio=tolerances.get("calibration_ratio"),
    )
    return dataclasses.replace(certificate, **measured)


def _counted(batches: Iterable[ClickBatch], progress: Callable[[int], None], *watches: Watch) -> Iterator[ClickBatch]:
    """The batches; between them, what the models are maps of is looked at, and at the end in any case."""
    for batch in batches:
        yield batch
        for watch in watches:
            watch.glance()
        progress(batch.num_samples)
    for watch in watches:
        watch.check()
