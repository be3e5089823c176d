"""The data that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.columns import stated_columns
from dlrm_pl.artifact.manifest import FILE_NAME, Manifest
from dlrm_pl.artifact.writing.sensitivities import Sensitivities
from dlrm_pl.columns.columns import Columns
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.runtime.tables import row_bytes


class TableSize(NamedTuple):
    """The size of an embedding table."""

    rows: int
    dtype: str
    fp32_bytes: int
    artifact_bytes: int


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows.

    Attributes:
        manifest: manifest of the artifact.
        certificate: certificate of the artifact.
        trials: all trials of the search, in order.
        best: number of the trial that the artifact was made from.
        pareto: numbers of the trials that no other trial dominates.
        sensitivities: drop of each op and table.
        histograms: click probabilities of fp32 and int8 on the certification rows; None where they could not be scored.
        settings: settings of the search, as plain values.
        tuning_rows: number of rows that a trial could have read.
        peak_memory_bytes: peak memory of the process so far.
        calibration_rows: number of rows that the observers saw.
        refreshed_from: name of the folder of the artifact whose recipe and tables were reused; "" if there was none.
        training: record of the float model's training; None if unknown.
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
    refreshed_from: str = ""
    training: TrainingRecord | None = None

    @property
    def unscored(self) -> str:
        """Reason why the artifact's recipe was not scored on the tuning rows; "" if it was."""
        return next(trial.unscored for trial in self.trials if trial.number == self.best)

    @property
    def table_sizes(self) -> list[TableSize]:
        """Size of each table before and after quantization."""
        sizes = self.manifest.architecture["table_sizes"]
        dim = self.manifest.architecture["embedding_dim"]
        dtypes = [self.manifest.ops[f"tables.{index}"]["dtype"] for index in range(len(sizes))]
        return [
            TableSize(rows, dtype, rows * row_bytes("fp32", dim), rows * row_bytes(dtype, dim))
            for rows, dtype in zip(sizes, dtypes, strict=True)
        ]

    @property
    def columns(self) -> Columns | None:
        """Columns of the rows; None if they are not known."""
        architecture = Architecture.from_dict(self.manifest.architecture)
        return stated_columns(self.manifest.columns, architecture, FILE_NAME)

    @property
    def table_names(self) -> list[str]:
        """Name of each table's column; "" if the columns are not known."""
        columns = self.columns
        return [""] * len(self.table_sizes) if columns is None else [column.name for column in columns.sparse]

    @property
    def median_rows(self) -> int:
        """Median number of rows that a trial read, over the trials for which it is known; 0 if there are none."""
        known = [trial.rows for trial in self.trials if trial.rows]
        return int(median(known)) if known else 0
