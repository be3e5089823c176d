"""Exported models as contenders of a benchmark, each run by the program that its format is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dlrm_pl.artifact.manifest import WEIGHTS_NAME
from dlrm_pl.artifact.store import Artifact
from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.contenders import Contender
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.export.export import TARGETS, recognize_export
from dlrm_pl.export.target import Target


@dataclass(frozen=True)
class ExportedContender(Contender):
    """An exported model.

    Attributes:
        folder: folder that ``export`` wrote.
        target: format of the model.
    """

    folder: Path = Path()
    target: Target = TARGETS["onnx"]

    def prepare(self, batch: ClickBatch) -> Scorer:
        """Load the model for the current number of threads."""
        del batch
        return self.target.logits_of(self.folder, torch.get_num_threads())


def exported_contenders(folders: Sequence[Path], artifact: Artifact) -> tuple[Contender, ...]:
    """Make contenders from exported models.

    Args:
        folders: folders that ``export`` wrote, of different formats.
        artifact: the artifact that they were made from.

    Raises:
        ConfigurationError: a folder is not an exported model or was made from another artifact, or a library is
            missing.
    """
    contenders: dict[str, Contender] = {}
    for folder in folders:
        found = recognize_export(folder)
        settings = None if found is None else found.settings
        target = TARGETS.get((settings or {}).get("target", ""))
        if settings is None or target is None:
            raise ConfigurationError(f"{folder}: is not an exported model. Give a folder that `export` wrote.")
        if settings.get("weights") != artifact.manifest.files[WEIGHTS_NAME]:
            raise ConfigurationError(
                f"{folder}: was exported from an artifact other than {artifact.path}. Export it again."
            )
        target.require()
        name = f"exported_{target.name}"
        if name in contenders:
            raise ConfigurationError(f"{folder}: is a second export to {target.name}. Give one folder of each format.")
        contenders[name] = ExportedContender(
            name, f"exported, {target.name}", nn.Identity(), folder=folder, target=target, is_own=True
        )
    return tuple(contenders.values())
