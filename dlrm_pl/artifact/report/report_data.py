"""What a report is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.sensitivities import Sensitivities
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.quantization.search.trial import Trial
from dlrm_pl.runtime.tables import row_bytes


@dataclass(frozen=True)
class Contents:
    """All that a report shows.

    Attributes:
        manifest: of the artifact.
        certificate: of the artifact.
        trials: in order.
        best: number of the trial that the artifact comes from.
        pareto: numbers of the trials that no other beats.
        sensitivities: by op and table.
        histograms: of the probabilities on the certification rows, fp32 and int8; None where they could not be scored.
        settings: of the search, plain values.
        tuning_rows: that a trial could have read.
        peak_memory_bytes: of the process so far.
        calibration_rows: that the observers saw.
    """

    manifest: Manifest
    certificate: Certificate
    trials: Sequence[Trial]
    best: int
    pareto: Sequence[int]
    sensitivities: Sensitivities
    histograms: tuple[ScoreHistogram, ScoreHistogram] | None
    settings: Mapping[str, Any]
    tuning_rows: int
    peak_memory_bytes: int
    calibration_rows: int

    @property
    def table_bytes(self) -> list[tuple[int, str, int, int]]:
        """Of each table: rows, dtype, bytes in fp32, bytes in the artifact."""
        sizes = self.manifest.architecture["table_sizes"]
        dim = self.manifest.architecture["embedding_dim"]
        dtypes = [self.manifest.ops[f"tables.{index}"]["dtype"] for index in range(len(sizes))]
        return [
            (rows, dtype, rows * row_bytes("fp32", dim), rows * row_bytes(dtype, dim))
            for rows, dtype in zip(sizes, dtypes, strict=True)
        ]
