"""Reopen what an artifact was made from: its dataset, its certification rows and its float model."""

from __future__ import annotations

import logging
from pathlib import Path

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.artifact.store import Artifact
from dlrm_pl.columns.difference import difference
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import CheckpointError, DatasetError
from dlrm_pl.model.checkpoints.checksum import PREFIX, model_checksum, parameter_checksums
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.earlier_checksum import earlier_checksum
from dlrm_pl.model.checkpoints.tensors import check_tensors
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.load import load_dlrm

log = logging.getLogger(__name__)


def open_dataset(path: Path, artifact: Artifact, force: bool = False, *, rows: bool = True) -> DatasetFolder:
    """Open the dataset that an artifact was made for; with ``force``, another one if none of its tables is larger.

    Pass ``rows=False`` if only its dictionaries are needed.

    Raises:
        DatasetError: it is another dataset; the message names the column that differs, or the table and both sizes.
        DataFormatError: a block of rows, among those that are checked here, is not what was written.
    """
    stated = StatedTables.of_model(artifact.model.architecture.table_sizes, artifact.columns)
    folder = DatasetFolder.open(path, rows=rows, stated=stated)
    log.info("%s: checked %s; `inspect --full` checks everything", path, folder.check_samples())
    architecture, columns = artifact.model.architecture, artifact.columns
    if force:
        contract = CheckpointContract(architecture, artifact.manifest.dataset_fingerprint, columns)
        if other := contract.check_usable(folder.table_sizes, folder.fingerprint, folder.columns):
            log.warning("%s: %s. Continuing because --force was given.", path, other)
        return folder
    if columns is None:
        other = architecture.misfit(folder.columns)
    else:
        other = difference("this dataset", folder.columns, "the artifact", columns)
    if other:
        raise DatasetError(f"{path}: {other}. Give the dataset that {artifact.path} was quantized with.")
    sizes = architecture.table_sizes
    for table, (expected, actual) in enumerate(zip(sizes, folder.table_sizes, strict=False)):
        if expected != actual:
            raise DatasetError(
                f"{path}: table {table} has {actual} rows, but {expected} in the artifact {artifact.path}. Give the "
                "dataset that it was quantized with."
            )
    if not artifact.manifest.dataset_fingerprint:
        raise DatasetError(
            f"{path}: the artifact {artifact.path} was made from a data module that named no dataset, so there is no "
            "way to tell whether these are the same rows. Give --force to score them anyway."
        )
    if folder.fingerprint != artifact.manifest.dataset_fingerprint:
        raise DatasetError(
            f"{path}: this dataset has fingerprint {folder.fingerprint}, but the artifact {artifact.path} was made "
            f"for {artifact.manifest.dataset_fingerprint}: the same ids would stand for other categories."
        )
    return folder


def certified_rows(artifact: Artifact, data: Path, force: bool) -> tuple[ClickDataset, str]:
    """Open the certified dataset; return it with a description of the checks that were made.

    Raises:
        DatasetError: it is another dataset, or has other rows.
    """
    certificate = artifact.certificate
    folder = open_dataset(data, artifact, force)
    rows = certificate.row_ranges["certification"]
    folder.check_dictionaries()
    checked = folder.check_split(rows["split"])
    if not force and _check_same_rows(certificate, folder) and folder.splits[rows["split"]].checksum is None:
        checked = f"all {rows['split']} rows against the checksum in the certificate"
    return ClickDataset.of_split(folder, rows["split"], start=rows["start"], stop=rows["stop"]), checked


def float_model(path: Path, certificate: Certificate) -> DLRM:
    """Load the model of a checkpoint, and check that all its weights are those that were quantized.

    Raises:
        CheckpointError: the file is unreadable or damaged, or holds another model.
    """
    model = load_dlrm(path)
    assert model.weights_file is not None  # The model was just loaded from a file.
    tensors = model.weights_file.tensors
    actual, expected, what = model_fingerprint(model), certificate.model_fingerprint, "fingerprint"
    if actual == expected and certificate.model_checksum.startswith(PREFIX):
        actual, expected = model_checksum(model, parameter_checksums(model, tensors)), certificate.model_checksum
        what = "checksum"
    else:
        check_tensors((tensor, name) for name, tensor in tensors.items())  # Is it damaged, or another model?
        if actual == expected and certificate.model_checksum:  # Certificates of the first versions have none.
            actual, expected, what = earlier_checksum(model), certificate.model_checksum, "checksum"
    if actual != expected:
        raise CheckpointError(
            f"{path}: its {what} is {actual}, but the artifact was made from {expected}. Give the checkpoint that it "
            "was quantized from."
        )
    return model


def _check_same_rows(certificate: Certificate, folder: DatasetFolder) -> bool:
    """Check that the rows are those that were certified; returns False where a checksum of either is unknown.

    Raises:
        DatasetError: the rows differ; the message names the file.
    """
    rows, stated = certificate.row_ranges["certification"], certificate.row_checksum
    path, split = folder.split_path(rows["split"]), folder.splits[rows["split"]]
    checksum = folder.rows(rows["split"]).checksum(rows["start"], rows["stop"], split.checksum)
    if not stated or not checksum:
        return False
    if stated != checksum:
        raise DatasetError(
            f"{path}: rows {rows['start']:,} to {rows['stop'] - 1:,} are not the certified ones: their checksum is "
            f"{checksum}, but the certificate states {stated}. Give the dataset that it was quantized with."
        )
    return True
