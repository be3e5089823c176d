"""Score rows with an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.runtime.direct import DirectModel
from dlrm_pl.scoring import ROWS_AT_A_TIME, Probabilities, Scorer

if TYPE_CHECKING:
    from dlrm_pl.data.formats.row_encoder import RowEncoder


class Predictor(Scorer):
    """The certified model of an artifact, ready to score rows: call it, or its method ``predict``.

    The artifact's files must not be changed in place while the predictor is used. A new artifact that ``quantize``
    writes to the same folder consists of other files, and the predictor continues with the old ones.

    Args:
        artifact: the artifact, from ``load_artifact``.

    Raises:
        ConfigurationError: it is not a loaded artifact, for example a path.

    Example:
        >>> from dlrm_pl import Predictor, load_artifact
        >>> predictor = Predictor(load_artifact("artifacts/quickstart"))
        >>> predictor.predict(([[0] * 13, [9] * 13], [[0] * 26, [1] * 26])).shape
        (2,)
    """

    def __init__(self, artifact: Artifact) -> None:
        if not isinstance(artifact, Artifact):
            raise ConfigurationError(f"artifact={shown(artifact)} must be an Artifact. Load it with load_artifact.")
        architecture = artifact.model.architecture
        num_dense, num_tables = architecture.bottom_mlp[0], architecture.num_tables
        direct = DirectModel.of(artifact.model)
        model = artifact.model if direct is None else direct.logits
        super().__init__(model, num_dense, num_tables, artifact.watch, artifact.columns, lambda: artifact.encoder)
        self._artifact = artifact

    @property
    def encoder(self) -> RowEncoder:
        """Encoder of rows with raw values into records, see ``Artifact.encoder``."""
        return self._artifact.encoder

    def __call__(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME, raw: bool | None = None) -> Probabilities:
        """Score rows, see ``predict``."""
        return self.predict(rows, batch_size=batch_size, raw=raw)

    def __repr__(self) -> str:
        """Name the artifact's folder."""
        return f"Predictor({str(self._artifact.path)!r})"
