"""An artifact of the tiny model, built once, and copied for tests that damage it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny

from dlrm_pl.artifact.build import Outcome, build_artifact
from dlrm_pl.artifact.quantization_data import QuantizationData
from dlrm_pl.data.datamodule import RowRange
from dlrm_pl.quantization.criterion import Criterion
from dlrm_pl.quantization.tuning import TuningSettings

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


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return build(tmp_path_factory.mktemp("built") / "artifact")


@pytest.fixture
def artifact_path(outcome: Outcome, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(outcome.path, tmp_path / "artifact"))
