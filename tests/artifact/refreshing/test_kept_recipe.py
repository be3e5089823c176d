"""A refresh keeps its recipe: nothing is chosen on the tuning rows; only the certification rows decide."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlrm_pl.artifact.card.card import render_card
from dlrm_pl.artifact.card.facts import read_facts
from dlrm_pl.artifact.certificate.verdict import judge
from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import DLRMError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.trials.trial import Trial
from tests.support.refreshing import Made, changed, refresh, rows, runs, settings


class Untouched:
    """Tuning rows that must not be read."""

    def __iter__(self) -> Iterator[ClickBatch]:
        pytest.fail("the tuning rows were read")


def refreshed(model: DLRM, made: Made, output: Path, wanted: TuningSettings | None = None, **options: Any) -> Outcome:
    base = RefreshBase.load(made.path, model)
    data = dataclasses.replace(rows(0), tuning=options.pop("tuning", Untouched()))  # type: ignore[type-var]
    return build_artifact(model, data, base.settings(wanted or settings()), output, base=base, **options)  # type: ignore[arg-type]


@pytest.fixture
def model(made: Made) -> DLRM:
    return changed(made.model, runs)


def test_the_certification_rows_alone_decide(made: Made, model: DLRM, tmp_path: Path) -> None:
    outcome = refreshed(model, made, tmp_path / "second")
    certificate = outcome.certificate
    assert certificate.outcome == "accepted"
    assert certificate.reason.startswith("AUROC drop ")
    assert certificate.trials == 0
    assert certificate.stopped_because == "the recipe of the artifact first was kept"
    assert outcome.tuning.best.recipe.to_dict() == made.artifact().manifest.recipe
    assert outcome.tuning.baseline is None
    assert load_artifact(outcome.path).certificate == certificate


def test_the_files_say_that_nothing_was_judged_on_tuning_rows(made: Made, model: DLRM, tmp_path: Path) -> None:
    outcome = refreshed(model, made, tmp_path / "second")
    result = json.loads((outcome.path / "result.json").read_text())
    kept = "the recipe of the artifact first was kept"
    assert result["accepted"] is True
    assert {name: result["search"][name] for name in ("accepted", "reason", "pareto")} == {
        "accepted": None,
        "reason": kept,
        "pareto": [],
    }
    assert (result["best"]["accepted"], result["best"]["drop"]) == (None, None)
    (line,) = (outcome.path / "trials.jsonl").read_text().splitlines()
    values = json.loads(line)
    assert (values["failed"], values["score"], values["drop"], values["reason"]) == (False, None, None, kept)
    read = Trial.from_dict(values)
    assert read == dataclasses.replace(outcome.tuning.best, seconds=read.seconds)
    assert repr(read) == "Trial(1, not scored)"
    assert read.describe().endswith(f": not scored, {kept}")


def test_report_and_card_say_so(made: Made, model: DLRM, tmp_path: Path) -> None:
    outcome = refreshed(model, made, tmp_path / "second")
    report = " ".join((outcome.path / "report.html").read_text().split())
    assert "No recipe was searched: the recipe of the artifact first was kept." in report
    for heading in ("Trials", "Rows read", "Trade-offs"):
        assert f"<h2>{heading}" not in report
        assert f"<h2>{heading}" in (made.path / "report.html").read_text()
    card = render_card(read_facts(outcome.path))
    assert "no recipe was searched: the recipe of the artifact first was kept" in card


def test_a_drop_beyond_the_tolerance_is_not_accepted(made: Made, model: DLRM, tmp_path: Path) -> None:
    wanted = TuningSettings(criterion=Criterion(absolute=0.0, confidence=None, log_loss=None, calibration_ratio=None))
    with torch.no_grad():
        for parameter in model.bottom_mlp.parameters():
            parameter[0] *= 1000
    certificate = refreshed(model, made, tmp_path / "second", wanted).certificate
    assert certificate.outcome == "not accepted"
    assert certificate.reason.startswith("on the certification rows: ")
    assert "tuning" not in certificate.reason


def test_too_few_rows_are_undecided(made: Made) -> None:
    certificate = dataclasses.replace(
        made.artifact().certificate, tolerance=1e-9, auroc_drop_at_least=-0.1, auroc_drop_at_most=0.1
    )
    verdict = judge(certificate, None)
    assert verdict.outcome == "undecided"
    assert verdict.reason.startswith("the 1,000 certification rows are too few to decide: ")


def test_another_score_is_judged_on_the_tuning_rows(made: Made, model: DLRM, tmp_path: Path) -> None:
    """The certification does not compute it."""
    scored: list[nn.Module] = []

    def score(candidate: nn.Module) -> float:
        scored.append(candidate)
        return 1.0 if isinstance(candidate, DLRM) else 0.5

    wanted = TuningSettings(criterion=Criterion(relative=0.1))
    outcome = refreshed(model, made, tmp_path / "second", wanted, eval_func=score, tuning=[])
    assert len(scored) == 2
    assert outcome.certificate.trials == 1
    assert outcome.certificate.reason.startswith("rejected on the tuning rows: ")


def test_a_model_that_cannot_be_calibrated_leaves_nothing(made: Made, model: DLRM, tmp_path: Path) -> None:
    with torch.no_grad():
        next(model.bottom_mlp.parameters())[0] = float("nan")
    with pytest.raises(DLRMError, match=r"cannot be quantized with the recipe that was kept: .* nan"):
        refreshed(model, made, tmp_path / "second")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_scored_is_not_accepted(
    made: Made, model: DLRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("made up")

    monkeypatch.setattr("dlrm_pl.artifact.writing.certified.certify", fail)
    certificate = refreshed(model, made, tmp_path / "second").certificate
    assert certificate.outcome == "not accepted"
    assert certificate.reason.startswith("the certification rows could not be scored: ZeroDivisionError: made up")
    assert "tuning" not in certificate.reason


def test_a_refresh_that_is_refreshed_keeps_the_recipe_again(made: Made, model: DLRM, tmp_path: Path) -> None:
    refresh(model, made.path, tmp_path / "second")
    outcome = refresh(changed(model, runs), tmp_path / "second", tmp_path / "third")
    assert outcome.certificate.stopped_because == "the recipe of the artifact second was kept"
    assert outcome.manifest.recipe == made.artifact().manifest.recipe
