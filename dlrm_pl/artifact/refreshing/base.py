"""The artifact that a refresh starts from: its recipe, its packed tables, and the digests of their float rows."""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.artifact.certificate.file import read_certificate
from dlrm_pl.artifact.digests import read_digests
from dlrm_pl.artifact.files import places_of
from dlrm_pl.artifact.manifest import FILE_NAME, Manifest, file_sha256
from dlrm_pl.artifact.refreshing.strictness import less_strict
from dlrm_pl.artifact.store import Artifact, load_artifact
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.hashing.blocks import Bytes
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SpaceSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefreshBase:
    """An artifact whose recipe and tables are reused by a new one with the same architecture.

    Attributes:
        artifact: the earlier artifact.
        recipe: its recipe.
        digests: digests of the blocks of its float weights, by name of the parameter; None: unknown, so that all rows
            are packed to find those that differ.
    """

    artifact: Artifact
    recipe: Recipe
    digests: dict[str, Bytes] | None

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: DLRM) -> RefreshBase:
        """Load an artifact, and check that a model can reuse it.

        Raises:
            ArtifactError: it is damaged, or not an artifact.
            ConfigurationError: its architecture differs from the model's.
        """
        check_base(path, model.architecture)
        artifact = load_artifact(path)
        manifest = artifact.manifest
        shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        digests = read_digests(artifact.path, shapes, manifest.model_checksum)
        if digests is None:
            log.warning(
                "%s: has no digests of its float rows, or they do not match its weights, so all rows are packed to "
                "find those that changed; the new artifact will have digests",
                artifact.path,
            )
        return cls(artifact, Recipe.from_dict(manifest.recipe), digests)

    @property
    def folder(self) -> Path:
        """The folder of the artifact."""
        return self.artifact.path

    def settings(self, wanted: TuningSettings) -> TuningSettings:
        """Settings of a search that tries only the artifact's recipe."""
        return dataclasses.replace(
            wanted,
            recipe=RecipeStart(),
            space=SpaceSettings(),
            strategy="basic",
            objective="size",
            timeout_s=0.0,
            max_trials=1,
            stop_at=None,
        )

    def warn_if_less_strict(self, criterion: Criterion) -> None:
        """Warn if a criterion is less strict than the one that the artifact was certified by.

        Args:
            criterion: criterion by which the refresh is certified.

        Raises:
            ArtifactError: the certificate is damaged.
        """
        found = less_strict(read_certificate(self.folder), criterion)
        if found:
            log.warning(
                "this refresh is certified less strictly than %s was: it tolerates %s. To be as strict, give the "
                "settings of that artifact, as with -c FILE.yaml; --relative states the tolerated drop of the AUROC",
                self.folder,
                "; ".join(found),
            )

    def identity(self) -> dict[str, str]:
        """What the new artifact depends on in addition to its own search."""
        return {"refreshed": file_sha256(self.folder / FILE_NAME)}

    @property
    def has_vocabulary(self) -> bool:
        """Whether the artifact holds the dictionaries of its dataset."""
        return VOCABULARY_NAME in self.artifact.manifest.files


def check_base(path: str | os.PathLike[str], architecture: Architecture) -> None:
    """Check, from its manifest alone, that an artifact can be reused for a model with an architecture.

    Raises:
        ArtifactError: it is damaged, or not an artifact.
        ConfigurationError: it has another architecture.
    """
    folder = Path(path).expanduser()
    manifest = Manifest.read(folder)
    places_of(folder, manifest)
    found = Architecture.from_dict(manifest.architecture)
    if found != architecture:
        raise ConfigurationError(
            f"{folder}: cannot be refreshed, because its {_difference(found, architecture)} in the model. Quantize "
            "without --refresh."
        )


def _difference(found: Architecture, wanted: Architecture) -> str:
    """Return the first part of two architectures that differs, as ``table_sizes are [3], but [4]``."""
    ours, theirs = found.to_dict(), wanted.to_dict()
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            return f"{name} is {ours.get(name)}, but {theirs.get(name)}"
    return "architecture differs from that"
