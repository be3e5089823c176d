"""Score rows with an artifact, and write click probabilities to files."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.files.destinations import check_file, kind_of
from dlrm_pl.scoring import ROWS_AT_A_TIME, Probabilities, Scorer

if TYPE_CHECKING:
    from dlrm_pl.data.formats.row_encoder import RowEncoder

log = logging.getLogger(__name__)


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
        super().__init__(
            artifact.model, num_dense, num_tables, artifact.watch, artifact.columns, lambda: artifact.encoder
        )
        self._artifact = artifact

    @property
    def encoder(self) -> RowEncoder:
        """Turns rows with raw values into records, see ``Artifact.encoder``."""
        return self._artifact.encoder

    def __call__(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME, raw: bool | None = None) -> Probabilities:
        """Score rows, see ``predict``."""
        return self.predict(rows, batch_size=batch_size, raw=raw)

    def __repr__(self) -> str:
        """Name the artifact's folder."""
        return f"Predictor({str(self._artifact.path)!r})"


def check_predictions_path(path: Path, overwrite: bool = True) -> None:
    """Check before rows are scored that predictions can be written.

    Raises:
        ConfigurationError: the ending is not .csv or .npy; a pipe may have any, and gets CSV.
        OutputError: the path is a folder or a device, or a file that may not be replaced.
    """
    if path.suffix not in (".csv", ".npy") and kind_of(path) != "sink":
        raise ConfigurationError(f"{path}: predictions are written as .csv or .npy, not as {path.suffix!r}.")
    check_file(path, overwrite, sinks=True)


def write_predictions(path: Path, batches: Iterable[Probabilities]) -> int:
    """Write one probability per row: as ``.csv`` with the header ``probability``, or as ``.npy``, float32 ``[rows]``.

    An earlier file is replaced at the end. Pipes and character devices are written to directly, as CSV. A warning
    counts probabilities that float32 rounds to 0 or 1, since their rows cannot be ranked.

    Args:
        path: file to write.
        batches: probabilities of the rows, in order.

    Returns:
        Number of rows written.

    Raises:
        ConfigurationError: the ending is not .csv or .npy.
        OutputError: the file cannot be written, or is a folder or a device.
    """
    check_predictions_path(path)
    if path.suffix == ".npy":
        values = np.concatenate([np.asarray(batch, dtype=np.float32) for batch in batches])
        with atomic_file(path, "wb", sinks=True) as handle:
            # np.save is not used, since its error on a full disk does not say that the disk is full.
            np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(values))
            handle.write(values.data)
        _warn_of_certain(path, _certain(values), len(values))
        return len(values)
    rows = 0
    certain = 0
    with atomic_file(path, "w", sinks=True) as handle:
        handle.write("probability\n")
        for batch in batches:
            # Nine digits identify every float32 exactly.
            handle.write("".join(f"{value:.9g}\n" for value in batch.tolist()))
            rows += len(batch)
            certain += _certain(batch)
    _warn_of_certain(path, certain, rows)
    return rows


def _certain(probabilities: Probabilities) -> int:
    """Count the probabilities that are exactly 0 or 1."""
    return int(np.count_nonzero((probabilities == 0) | (probabilities == 1)))


def _warn_of_certain(path: Path, certain: int, rows: int) -> None:
    if certain:
        log.warning(
            "%s: %s of %s probabilities are exactly 0 or 1, since float32 rounds those of logits below -88 or above "
            "17: these rows cannot be ranked. Check the calibration of the model with `validate`.",
            path,
            f"{certain:,}",
            f"{rows:,}",
        )
