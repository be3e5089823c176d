"""A search that takes all of its steps, to be stopped and resumed."""

from __future__ import annotations

from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.space import SpaceSettings
from tests.support import tiny

# All trials are rejected, so that the search goes through all of its steps.
SETTINGS = TuningSettings(
    criterion=Criterion(absolute=0.0, first_block=500, confidence=0.99),
    space=SpaceSettings(observers=("minmax",)),
    max_trials=12,
)


def data(tuning_rows: str = "abc") -> RowSets:
    return RowSets(
        row_identities={"tuning": tuning_rows},
        calibration=tiny.batches(2, 64, seed=1),
        tuning=tiny.batches(4, 500, seed=2),
        certification=tiny.batches(2, 500, seed=3),
        row_ranges={
            "calibration": RowRange("val", 0, 128),
            "tuning": RowRange("val", 128, 2128),
            "certification": RowRange("test", 0, 1000),
        },
        dataset_fingerprint="feedc0de",
        batch_size=500,
        best_possible_auroc=None,
    )


def summary(outcome: Outcome) -> dict[str, object]:
    """Return everything that must not depend on whether the search was killed: all but times."""
    timed = {"seconds", "elapsed_s", "samples_per_s"}
    tuning = outcome.tuning
    trials = [{k: v for k, v in trial.to_dict().items() if k not in timed} for trial in tuning.trials]
    weights = outcome.manifest.files["model.safetensors"]
    return {"trials": trials, "best": tuning.best.number, "stopped": tuning.stopped_because, "weights": weights}
