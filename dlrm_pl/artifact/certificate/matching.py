"""Read a certificate together with the manifest next to it, which must agree with it."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.file import read_certificate
from dlrm_pl.artifact.manifest import CERTIFICATE_NAME, FILE_NAME, Manifest
from dlrm_pl.errors import ArtifactError


def read_matching_certificate(folder: Path, manifest: Manifest) -> Certificate:
    """Read an artifact's certificate, and check that it is consistent and agrees with the manifest.

    Raises:
        ArtifactError: they do not agree; the message names what differs.
    """
    certificate = read_certificate(folder)
    for name in ("accepted", "model_fingerprint", "dataset_fingerprint", "recipe"):
        certified, stated = getattr(certificate, name), getattr(manifest, name)
        if certified != stated:
            raise ArtifactError(
                f"{folder}: {name} is {certified!r} in {CERTIFICATE_NAME}, but {stated!r} in {FILE_NAME}. One of the "
                "two files was changed after it was written. Do not trust this artifact; quantize again."
            )
    if certificate.columns != manifest.columns:
        raise ArtifactError(
            f"{folder}: the columns in {CERTIFICATE_NAME} are not those in {FILE_NAME}. One of the two files was "
            "changed after it was written. Do not trust this artifact; quantize again."
        )
    return certificate
