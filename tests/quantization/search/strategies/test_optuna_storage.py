"""The study of a search with Optuna, in Optuna's own storage."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.quantization.search.strategies.model_based.optuna_sampler import STUDY_NAME
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.tune import TuningListener
from tests.support import tiny
from tests.support.quantization.resumable import SETTINGS, data

optuna = pytest.importorskip("optuna")
TPE = replace(SETTINGS, strategy="tpe", max_trials=13)


class StopAt(TuningListener):
    """Raises ctrl-C after a number of trials."""

    def __init__(self, count: int) -> None:
        self.count = count

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        if trial.number == self.count:
            raise KeyboardInterrupt


def study_of(folder: Path) -> optuna.Study:
    """Open the study as the documentation does."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / STUDY_NAME)))
    return optuna.load_study(study_name="tpe", storage=storage)


def recorded(outcome: Outcome) -> list[tuple[int, float | None, bool]]:
    """Return the number, value and feasibility that the study should have for each trial."""
    return [(trial.number, trial.cost, trial.accepted) for trial in outcome.tuning.trials]


def found(folder: Path) -> list[tuple[int, float | None, bool]]:
    """Return what the study has for them."""
    return [
        (trial.user_attrs["trial"], trial.value, trial.constraints["drop"] <= 0)
        for trial in study_of(folder).get_trials(states=[optuna.trial.TrialState.COMPLETE])
    ]


def test_study_has_every_trial_and_stays_with_the_artifact(tmp_path: Path) -> None:
    outcome = build_artifact(tiny.model(), data(), TPE, tmp_path / "a")
    assert found(tmp_path / "a") == recorded(outcome)
    assert len(recorded(outcome)) == 13
    assert STUDY_NAME in Manifest.read(tmp_path / "a").files
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_interrupted_search_goes_on_with_the_same_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dlrm_pl")
    whole = build_artifact(tiny.model(), data(), TPE, tmp_path / "whole")
    build_artifact(tiny.model(), data(), TPE, tmp_path / "a", listeners=[StopAt(11)])
    journal = tmp_path / f".a.trials.{STUDY_NAME}"
    lines = journal.read_bytes()
    journal.write_bytes(lines[: len(lines) // 2])  # A kill in the middle of a line...
    journal.with_name(f"{journal.name}.lock").symlink_to("nothing")  # ...that left its lock.
    assert "written anew" not in caplog.text
    again = build_artifact(tiny.model(), data(), TPE, tmp_path / "a")
    assert f"{journal.name}: rewritten from the log, which has 11 trials" in caplog.text
    assert [t.recipe for t in again.tuning.trials] == [t.recipe for t in whole.tuning.trials]
    assert found(tmp_path / "a") == recorded(again) == recorded(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "whole"]


def test_other_strategies_take_no_study_along(tmp_path: Path) -> None:
    build_artifact(tiny.model(), data(), TPE, tmp_path / "a", listeners=[StopAt(3)])
    assert (tmp_path / f".a.trials.{STUDY_NAME}").exists()
    random = replace(TPE, strategy="random", max_trials=2)
    build_artifact(tiny.model(), data(), random, tmp_path / "a", overwrite=True)
    assert not (tmp_path / "a" / STUDY_NAME).exists()
    assert not (tmp_path / f".a.trials.{STUDY_NAME}").exists()
    assert json.loads((tmp_path / "a" / "trials.jsonl").read_text().splitlines()[0])["number"] == 1
