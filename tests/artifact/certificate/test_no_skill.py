"""A quantized model may lose nothing and still be worthless: every report about it says so."""

from __future__ import annotations

import io
import json
from html import unescape
from pathlib import Path

import pytest
import torch
from rich.console import Console

from dlrm_pl.artifact.certificate.file import read_certificate
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.inspection import describe
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.workflow.print_summary import print_summary
from tests.support import tiny
from tests.support.artifacts import data

WORDS = (
    "the AUROC of the fp32 model is 0.0",
    "the normalized entropy of the fp32 model is ",
    "the calibration ratio of the fp32 model is 1.",
)


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """An outcome for a model whose logits all have the wrong sign and whose click probabilities are near 1."""
    model = tiny.model()
    with torch.no_grad():
        model.top_mlp[-1].weight *= -1  # type: ignore[operator]
        model.top_mlp[-1].bias.fill_(4.0)  # type: ignore[operator]
    settings = TuningSettings(criterion=Criterion(relative=0.5, log_loss=None, calibration_ratio=None), max_trials=1)
    return build_artifact(model, data(), settings, tmp_path_factory.mktemp("worse") / "artifact")


def test_every_place_warns(worse: Outcome) -> None:
    shown = io.StringIO()
    print_summary(worse, Console(file=shown, width=500))
    places = [
        "\n".join(json.loads((worse.path / name).read_text())["warnings"])
        for name in ("certificate.json", "result.json")
    ]
    places += [unescape((worse.path / "report.html").read_text()), describe(worse.path), shown.getvalue()]
    for text in places:
        for words in WORDS:
            assert words in text
        assert "of the int8 model is" not in text  # The int8 model has the same faults, which are reported once.


def test_what_the_training_has_warned_of_is_not_said_again(worse: Outcome) -> None:
    shown = io.StringIO()
    print_summary(worse, Console(file=shown, width=500), {"calibration_ratio"})
    assert [words in shown.getvalue() for words in WORDS] == [True, True, False]


def test_warnings_follow_from_the_numbers_when_a_certificate_is_read(worse: Outcome, tmp_path: Path) -> None:
    assert read_certificate(worse.path).warnings == worse.certificate.warnings
    stated = json.loads((worse.path / "certificate.json").read_text())
    stated["warnings"] = []
    (tmp_path / "certificate.json").write_text(json.dumps(stated))
    assert len(read_certificate(tmp_path).warnings) == 3


def test_warning_that_only_int8_causes_is_about_int8(outcome: Outcome) -> None:
    certificate = read_certificate(outcome.path)
    before = certificate.warnings
    certificate.int8["auroc"] = 0.4
    (added,) = set(certificate.warnings) - set(before)
    assert added.startswith("the AUROC of the int8 model is 0.400000")
    assert added in certificate.warnings_but({"auroc"})
