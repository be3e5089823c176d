"""Facts that a model card is written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.matching import read_matching_certificate
from dlrm_pl.artifact.columns import stated_columns
from dlrm_pl.artifact.files import check_files, places_of
from dlrm_pl.artifact.manifest import CERTIFICATE_NAME, FILE_NAME, Manifest
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ArtifactError
from dlrm_pl.model.architecture import Architecture


@dataclass(frozen=True)
class CardFacts:
    """Facts that a model card is written from.

    Attributes:
        name: name of the model.
        manifest: manifest of the artifact.
        certificate: certificate of the artifact.
        sizes: bytes of each file of the artifact, the manifest included, by name.
        repo_id: repository on the Hugging Face Hub; "" where it is not known.
        license: identifier of the licence; "" where none is stated.
    """

    name: str
    manifest: Manifest
    certificate: Certificate
    sizes: Mapping[str, int]
    repo_id: str = ""
    license: str = ""

    @cached_property
    def architecture(self) -> Architecture:
        """Architecture of the model."""
        return Architecture.from_dict(self.manifest.architecture)

    @cached_property
    def columns(self) -> Columns | None:
        """Columns of the rows that the model scores; None if they are not known."""
        return stated_columns(self.manifest.columns, self.architecture, FILE_NAME)


def read_facts(folder: Path, name: str | None = None, *, repo_id: str = "", license: str = "") -> CardFacts:
    """Read the facts that a model card is written from.

    The manifest and the certificate are compared with their checksums; of the other files only the sizes are read.

    Args:
        folder: the artifact folder.
        name: name of the model; None: the name of the repository, or of the folder if no repository is given.
        repo_id: repository on the Hugging Face Hub.
        license: identifier of the licence.

    Raises:
        ArtifactError: the folder is not an artifact or is incomplete, or its certificate was changed.
    """
    manifest = Manifest.read(folder)
    places = places_of(folder, manifest)
    if CERTIFICATE_NAME not in manifest.files:
        raise ArtifactError(f"{folder / FILE_NAME}: has no checksum of {CERTIFICATE_NAME}. Quantize again.")
    check_files(places, manifest, without=manifest.files.keys() - {CERTIFICATE_NAME})
    return facts_of(folder, places, manifest, read_matching_certificate(folder, manifest), name, repo_id, license)


def facts_of(
    folder: Path,
    places: Mapping[str, Path],
    manifest: Manifest,
    certificate: Certificate,
    name: str | None,
    repo_id: str,
    license: str,
) -> CardFacts:
    """Return the facts of an artifact whose files have been found and checked; see ``read_facts``."""
    sizes = {name: path.stat().st_size for name, path in (*places.items(), (FILE_NAME, folder / FILE_NAME))}
    if name is None:
        name = repo_id.rpartition("/")[2] or folder.resolve().name
    return CardFacts(name, manifest, certificate, sizes, repo_id, license)
