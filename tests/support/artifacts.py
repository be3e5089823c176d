"""Artifacts of the tiny model."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.artifact.build import Outcome, build_artifact
from dlrm_pl.data.loading.datamodule import RowRange
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.row_sets import QuantizationData
from dlrm_pl.quantization.search.tune import TuningSettings
from tests.support import tiny

RANGES = {
    "calibration": RowRange("val", 0, 128),
    "tuning": RowRange("val", 128, 2128),
    "certification": RowRange("test", 0, 3000),
}


def data(**changes: object) -> QuantizationData:
    values = {
        "calibration": tiny.batches(2, 64, seed=1),
        "tuning": tiny.batches(2, 1000, seed=2),
        "certification": tiny.batches(3, 1000, seed=3),
        "row_ranges": RANGES,
        "dataset_fingerprint": "feedc0de",
        "batch_size": 1000,
        "best_possible_auroc": None,
    }
    return QuantizationData(**(values | changes))  # type: ignore[arg-type]


def build(output: Path, **criterion: float) -> Outcome:
    settings = TuningSettings(criterion=Criterion(**(criterion or {"relative": 0.02})), max_trials=5)  # type: ignore[arg-type]
    return build_artifact(tiny.model(), data(), settings, output)
