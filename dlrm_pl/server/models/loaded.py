"""A version of a model in memory, ready to answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dlrm_pl.artifact.manifest import FILE_NAME, file_sha256
from dlrm_pl.artifact.store import Artifact, Checksums, load_artifact
from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ArtifactError
from dlrm_pl.files.changes import Changes
from dlrm_pl.kernels.int8.pages import Pages
from dlrm_pl.runtime.direct import DirectModel
from dlrm_pl.scoring import probabilities_of
from dlrm_pl.server.batching.batcher import Scores
from dlrm_pl.server.inputs.model_inputs import ModelInputs

log = logging.getLogger(__name__)

_VERSION_DIGITS = 12
_PROBED_ROWS = (1, 64)


class LoadedModel:
    """An artifact that has been loaded and checked.

    Args:
        folder: the artifact folder.
        version: name of the version; None: the first digits of the manifest's checksum.
        pages: how tables are kept in memory.
        checksums: which files are compared with their checksums.
        allow_not_accepted: whether the artifact may be one that quantization did not accept.
        bases: other versions, whose tables a delta artifact shares.

    Raises:
        ArtifactError: the artifact is damaged, was not accepted, or gives scores that are not finite numbers.
    """

    def __init__(
        self,
        folder: Path,
        version: str | None = None,
        *,
        pages: Pages = "mapped",
        checksums: Checksums = "auto",
        allow_not_accepted: bool = False,
        bases: Sequence[Path] = (),
    ) -> None:
        self.artifact: Artifact = load_artifact(folder, checksums, pages, bases=bases)
        if not self.artifact.manifest.accepted and not allow_not_accepted:
            raise ArtifactError(
                f"{folder}: was not accepted, since its certificate says {self.artifact.certificate.outcome!r}: "
                f"{self.artifact.certificate.reason}. Quantize again, or serve it with --allow_not_accepted."
            )
        self.folder = folder
        self.version = version or file_sha256(folder / FILE_NAME)[:_VERSION_DIGITS]
        self.inputs = ModelInputs(self.artifact)
        self._model = self.artifact.model
        self._direct = DirectModel.of(self._model)
        self._logits = self._direct or self._model
        self._watch = self.artifact.watch
        self._changes = _changes(self.artifact, pages)
        self._probe()

    @property
    def merges(self) -> bool:
        """Whether a row's score has the same bits whatever rows it is batched with, unlike with float products."""
        dtypes = self._model.op_dtypes
        if self._model.architecture.interaction != "dot":
            del dtypes["interaction"]  # Concatenations and products of two numbers, which do not depend on the batch.
        return all(dtype == "int8" for name, dtype in dtypes.items() if not name.startswith("tables."))

    def check(self) -> None:
        """Check that no file of the artifact was changed in place; cheap enough to be called for each batch.

        Raises:
            ArtifactError: a file was changed, and the model must no longer be used.
        """
        if self._changes is None:
            self._watch.check()
        elif self._changes.seen():
            self._watch.check()
            raise ArtifactError(
                f"{self.folder}: a file was written to while it was in use, so scores may be wrong. Replace a file by "
                "renaming another one to its name."
            )
        else:
            self._watch.glance()

    def score(self, batch: ClickBatch) -> Scores:
        """Score a batch, bit-identical to ``predict``.

        Raises:
            ArtifactError: a file of the artifact was changed in place.
            DLRMError: the rows cannot be scored.
        """
        self.check()
        if self._direct is not None and (few := self._direct.few(batch)) is not None:
            return Scores(*few)
        with torch.inference_mode():
            logits = self._logits(batch)
            return Scores(logits.numpy(force=True), probabilities_of(logits))

    def _probe(self) -> None:
        """Score some rows, so that everything that all requests need is in memory before the first one."""
        architecture = self._model.architecture
        rng = np.random.default_rng(0)
        for rows in _PROBED_ROWS:
            ids = np.stack([rng.integers(0, size, rows) for size in architecture.table_sizes])
            batch = ClickBatch(torch.zeros(rows, architecture.bottom_mlp[0]), torch.from_numpy(ids))
            with torch.inference_mode():
                # First the path for larger batches, which releases the GIL: rows may come from a slow disk.
                self._logits(batch)
            if not np.isfinite(self.score(batch).logits).all():
                raise ArtifactError(f"{self.folder}: its model gives scores that are not numbers. Quantize again.")


def _changes(artifact: Artifact, pages: Pages) -> Changes | None:
    """Return the watch over the mapped files; None if the system cannot provide one."""
    if pages == "huge":
        return Changes(())  # The tables were copied, so the files are no longer read.
    try:
        return Changes(file.descriptor for file in artifact.watch.files)
    except OSError as error:
        log.warning(
            "%s: the system cannot report changes to its files (%s), so they are checked before each batch, which "
            "takes a tenth of a millisecond.",
            artifact.path,
            error,
        )
        return None
