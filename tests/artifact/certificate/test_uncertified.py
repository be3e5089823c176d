"""If certification rows cannot be scored, the artifact is written as not accepted, and every report says so."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dlrm_pl.artifact.certificate.file import read_certificate
from dlrm_pl.artifact.certificate.verdict import failures
from dlrm_pl.artifact.report.figures.probabilities import reliability
from dlrm_pl.artifact.report.page import render
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.summary import comparison, drop_line, guards_line
from dlrm_pl.artifact.verification.verify import verify_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.errors import VerificationError
from dlrm_pl.inspection import describe
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.workflow.print_summary import print_summary
from tests.support import tiny
from tests.support.artifacts import data
from tests.support.quantization import reports

SETTINGS = TuningSettings(criterion=Criterion(relative=0.02), max_trials=2)
WHY = "the certification rows could not be scored: The score of row 7"


@pytest.fixture(scope="module")
def uncertified(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """An outcome where one row has dense features at the limit of float32, so that its logit is not finite."""
    batch = tiny.batches(1, 1000, seed=3)[0]
    dense = batch.dense.clone()
    dense[7] = 3e38
    rows = data(certification=[batch._replace(dense=dense)])
    return build_artifact(tiny.model(), rows, SETTINGS, tmp_path_factory.mktemp("uncertified") / "artifact")


def test_artifact_is_written_and_not_accepted(uncertified: Outcome) -> None:
    assert uncertified.tuning.accepted
    certificate = load_artifact(uncertified.path).certificate
    assert not certificate.accepted
    assert certificate.reason.startswith(WHY)
    result = json.loads((uncertified.path / "result.json").read_text())
    assert (result["accepted"], result["reason"]) == (False, certificate.reason)


def test_what_could_not_be_computed_is_null_in_the_file_and_nan_when_read(uncertified: Outcome) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (uncertified.path / "certificate.json").read_text()
    stated = json.loads(text, parse_constant=refuse)
    assert stated["fp32"] == stated["int8"] == dict.fromkeys(stated["fp32"])
    assert [stated[name] for name in ("auroc_drop", "auroc_drop_relative", "tolerance")] == [None] * 3
    assert (stated["rows"], stated["guards"]) == (0, [])
    assert math.isnan(read_certificate(uncertified.path).int8["auroc"])


def test_every_reader_says_that_it_is_unknown(uncertified: Outcome) -> None:
    assert "NOT accepted" in describe(uncertified.path)
    assert "AUROC drop unknown: the certification rows could not be scored" in describe(uncertified.path)
    text = (uncertified.path / "report.html").read_text()
    assert WHY.replace("the", "The", 1) in text
    assert "Unknown: the certification rows could not be scored." in text
    shown = io.StringIO()
    print_summary(uncertified, Console(file=shown, width=200))
    assert WHY in shown.getvalue()
    for found in (shown.getvalue(), describe(uncertified.path), text):
        assert re.search(r"\bnan\b", found.replace("row 7 is nan", "")) is None


def test_there_is_nothing_to_verify(uncertified: Outcome, tmp_path: Path) -> None:
    with pytest.raises(
        VerificationError, match=f"there is nothing to verify, since no rows were scored for its certificate: {WHY}"
    ):
        verify_artifact(load_artifact(uncertified.path), tmp_path)


def test_slip_of_arithmetic_is_a_reason_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def certify(*args: object) -> None:
        1 / 0  # noqa: B018

    monkeypatch.setattr("dlrm_pl.artifact.writing.certified.certify", certify)
    certificate = build_artifact(tiny.model(), data(), SETTINGS, tmp_path / "artifact").certificate
    assert not certificate.accepted
    assert "could not be scored: ZeroDivisionError: division by zero (" in certificate.reason


def test_auroc_of_zero_divides_nothing(outcome: Outcome) -> None:
    certificate = read_certificate(outcome.path)
    for name in ("fp32", "int8"):
        getattr(certificate, name)["auroc"] = 0.0
    assert "tolerance unknown" in drop_line(certificate)
    assert ("AUROC", "0.000000", "0.000000", "+0.000000") in comparison(outcome.manifest, certificate)


def test_change_of_nothing_is_told_in_words_and_not_drawn(outcome: Outcome) -> None:
    """Probabilities of 0 in float64 cannot be shown on a logarithmic axis."""
    certificate = read_certificate(outcome.path)
    changed = replace(certificate.guards[0], change=None, standard_error=None, passed=False)
    certificate = replace(certificate, guards=(changed, *certificate.guards[1:]))
    assert "log loss from zero (tolerance 0.50%: failed)" in guards_line(certificate)
    assert any("(from zero); tolerance 0.50%: failed" in words for words in failures(certificate))
    nothing = (ScoreHistogram(), ScoreHistogram())
    for histogram in nothing:
        histogram.add(np.array([-900.0, -800.0], np.float32), np.array([0, 1], np.uint8))
    data = reports.report_data(outcome.manifest, certificate, histograms=nothing)
    assert reliability(data) is None
    assert "from zero" in render(data)
