"""Result of a quantization: the artifact that was written, and the search that led to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.notebook import artifact_html, artifact_line
from dlrm_pl.quantization.search.result import TuningResult

if TYPE_CHECKING:  # Importing it takes a second.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Outcome:
    """Result of a quantization: the artifact that was written, and the search that led to it.

    Attributes:
        path: the artifact folder.
        manifest: architecture, dtypes, sizes and checksums of the artifact.
        certificate: its drop, guards and verdict on the certification rows.
        tuning: result of the search, with all trials.

    Example:
        >>> import tempfile
        >>> import dlrm_pl
        >>> module = dlrm_pl.load_checkpoint("runs/quickstart/model.ckpt")
        >>> datamodule = dlrm_pl.DLRMDataModule("datasets/quickstart")
        >>> settings = dlrm_pl.TuningSettings(criterion=dlrm_pl.Criterion(relative=0.05), max_trials=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     outcome = dlrm_pl.quantize(module, datamodule, f"{folder}/int8", settings=settings)
        >>> outcome  # doctest: +ELLIPSIS
        Outcome('...int8', ..., AUROC 0... -> 0..., size ...)
        >>> figure, axes = outcome.plot()
        >>> axes[0].get_ylabel()
        'model size, MiB'
    """

    path: Path
    manifest: Manifest
    certificate: Certificate
    tuning: TuningResult

    def __repr__(self) -> str:
        """Name the artifact's folder, its verdict, AUROC and size in one line."""
        return artifact_line("Outcome", self.path, self.manifest, self.certificate)

    def _repr_html_(self) -> str:
        """Return an HTML table of fp32 and int8 for a notebook."""
        return artifact_html(self.path, self.manifest, self.certificate)

    def plot(self) -> tuple[Figure, list[Axes]]:
        """Draw the trials of the search by drop, size and, if known, speed.

        Returns:
            The figure and its axes, see ``TuningResult.plot``; a notebook shows the figure, and ``savefig`` writes it.
        """
        return self.tuning.plot()
