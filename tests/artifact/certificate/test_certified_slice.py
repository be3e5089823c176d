"""The worst slice on the certification rows: stated, judged, and verified."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlrm_pl.artifact.certificate.file import read_certificate
from dlrm_pl.artifact.certificate.verdict import doubts, failures
from dlrm_pl.artifact.report.page import render
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.summary import slice_line
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.batch import ClickBatch
from dlrm_pl.documents.fields import make
from dlrm_pl.errors import ArtifactError
from dlrm_pl.inspection import describe
from dlrm_pl.quantization.judging.certification import Certification, certify
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice, SliceScores
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice, cut
from dlrm_pl.quantization.judging.slices.slice_column import SliceColumn
from dlrm_pl.quantization.judging.slices.slice_rule import SliceRule
from dlrm_pl.quantization.search.tune import TuningSettings
from tests.support import tiny
from tests.support.artifacts import build, data
from tests.support.quantization import reports

BATCHES = tiny.batches(3, 1000, seed=3)


def guarded(output: Path, tolerance: float = 0.2, by: str = "C2") -> Outcome:
    criterion = Criterion(relative=0.05, worst_slice=WorstSlice(by=by, tolerance=tolerance, slices=4))
    return build_artifact(tiny.model(), data(), TuningSettings(criterion=criterion, max_trials=2), output)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return guarded(tmp_path_factory.mktemp("sliced") / "a")


def auroc_by_pairs(scores: Any, labels: Any) -> float:
    clicks, others = scores[labels == 1], scores[labels == 0]
    above = clicks[:, None] > others[None]
    return float((above + 0.5 * (clicks[:, None] == others[None])).mean())


def test_certificate_states_the_slice_that_lost_most(built: Outcome) -> None:
    found = load_artifact(built.path).certificate.worst_slice
    assert found == built.certificate.worst_slice
    assert found is not None
    column = np.concatenate([batch.indices[1].numpy() for batch in BATCHES])
    labels = np.concatenate([batch.labels.numpy() for batch in BATCHES])
    with torch.no_grad():
        fp32, int8 = (
            torch.cat([model(batch) for batch in BATCHES]).numpy()
            for model in (tiny.model(), load_artifact(built.path).model)
        )
    own = found.cut.edges
    drops = {}
    for name in found.cut.names:
        inside = ~np.isin(column, own) if "other" in name else column == int(name.partition("=")[2])
        before, after = (auroc_by_pairs(scores[inside], labels[inside]) for scores in (fp32, int8))
        drops[name] = (1 - after / before, before, after, inside)
    name = max(drops, key=lambda one: drops[one][0])
    drop, before, after, inside = drops[name]
    worst = found.worst
    assert worst is not None
    assert (found.column, worst.value) == ("C2", name)
    assert (worst.rows, worst.clicks) == (inside.sum(), labels[inside].sum())
    assert [worst.fp32, worst.int8, worst.drop] == pytest.approx([before, after, drop], abs=1e-9)
    reach = 1.959964 * worst.standard_error  # Student's t with some hundred clicks is slightly wider.
    assert worst.interval == pytest.approx([drop - reach, drop + reach], abs=0.01 * reach)
    assert found.passed
    assert (found.judged, found.too_small) == (4, 0)
    assert built.certificate.accepted


def test_slices_are_those_of_the_tuning_rows(built: Outcome) -> None:
    assert built.certificate.worst_slice is not None
    column = SliceColumn.find("C2", None)
    values = np.concatenate([column.values(batch) for batch in tiny.batches(2, 1000, seed=2)])
    expected = cut(values, column, 4)
    assert built.certificate.worst_slice.cut == expected


class NoisyPart(nn.Module):
    """The tiny model with noise on the logits of samples that have one id of table 1."""

    def forward(self, batch: ClickBatch) -> Tensor:
        logits: Tensor = tiny.model()(batch)
        noise = 3 * logits.std() * torch.randn(len(logits), generator=torch.Generator().manual_seed(1))
        return torch.where(batch.indices[1] == 4, logits + noise, logits)


def test_model_whose_slice_is_lost_on_test_alone_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(fp32: nn.Module, int8: nn.Module, batches: Any, rule: Any) -> Certification:
        return certify(fp32, NoisyPart(), batches, rule)

    monkeypatch.setattr("dlrm_pl.artifact.writing.certified.certify", lossy)
    criterion = Criterion(
        *(0.5,), worst_slice=WorstSlice(by="tables.1", tolerance=0.1, slices=8), log_loss=None, calibration_ratio=None
    )
    outcome = build_artifact(tiny.model(), data(), TuningSettings(criterion=criterion), tmp_path / "a")
    assert outcome.tuning.accepted
    assert not outcome.certificate.accepted
    assert not load_artifact(outcome.path).manifest.accepted
    assert "on the certification rows: worst slice C2=4: AUROC " in outcome.certificate.reason
    assert "tolerance 10.00%: failed" in outcome.certificate.reason
    assert "tolerance 10.00%: failed" in slice_line(outcome.certificate)
    page = (outcome.path / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<td class="bad"[^>]*>no</td>', page)
    assert "Not accepted</span>: worst slice C2=4: AUROC" in page


def test_slices_too_small_to_judge_leave_it_undecided(built: Outcome) -> None:
    guard = WorstSlice(by="C2", tolerance=1e-7, slices=4)
    rule = SliceRule.of_tuning_rows(BATCHES, guard, 1000, 0.95)
    noisy = certify(tiny.model(), load_artifact(built.path).model, BATCHES, rule).worst_slice
    assert noisy is not None
    assert (noisy.worst, noisy.judged, noisy.too_small, noisy.passed) == (None, 0, 4, None)
    certificate = dataclasses.replace(built.certificate, worst_slice=noisy)
    assert any("worst slice of C2: all 4 slices are too small" in words for words in doubts(certificate))
    line = slice_line(certificate)
    assert "unknown, no slice is large enough to judge, 4 too small; tolerance 0.00%: undecided" in line
    assert "worst slice of C2" in render(reports.report_data(built.manifest, certificate))


@pytest.mark.parametrize("by", ["C2", "I4"])
@pytest.mark.parametrize("score", ["auroc", "log_loss"])
def test_rule_survives_the_file_and_watches_the_worst_slice(by: str, score: Any, built: Outcome) -> None:
    rule = SliceRule.of_tuning_rows(BATCHES, WorstSlice(by=by, tolerance=0.2, score=score, slices=4), 1000, 0.95)
    model = load_artifact(built.path).model
    first = certify(tiny.model(), model, BATCHES, rule).worst_slice
    assert first is not None
    written = json.loads(json.dumps(dataclasses.asdict(first)))
    again = SliceRule.of_certificate(make(CertifiedSlice, written, "test", ArtifactError), 0.95, "bound")
    second = certify(tiny.model(), model, BATCHES, again)
    assert second.worst_slice == first
    worst = first.worst
    assert worst is not None
    assert second.watched == SliceScores(worst.rows, worst.clicks, {"fp32": worst.fp32, "int8": worst.int8})


def test_inspect_and_report_show_it_beside_the_other_guards(built: Outcome) -> None:
    line = slice_line(built.certificate)
    assert "worst slice of C2: C2" in line
    assert "4 slices judged" in line
    shown = describe(built.path)
    assert line in shown
    assert "guards: log loss" in shown
    page = (built.path / "report.html").read_text(encoding="utf-8")
    assert "AUROC of the worst slice of C2" in page
    assert f"W{line[1:]}." in page.replace("&gt;", ">")


def test_older_certificate_without_it_reads_fine(tmp_path: Path) -> None:
    path = build(tmp_path / "a").path / "certificate.json"
    contents = json.loads(path.read_text(encoding="utf-8"))
    assert contents.pop("worst_slice") is None
    path.write_text(json.dumps(contents), encoding="utf-8")
    older = read_certificate(path.parent)
    assert older.worst_slice is None
    assert slice_line(older) == ""
    assert failures(older) == doubts(older) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["cut"].pop("edges"), "worst_slice.cut.edges is missing"),
        (lambda found: found["cut"].update(edges=["x"]), "worst_slice.cut.edges.0: 'x' must be a number"),
        (
            lambda found: found["cut"].update(edges=[3, 1, 2]),
            r"the edges \[3.0, 1.0, 2.0\] do not define slices of a column",
        ),
        (lambda found: found["cut"].update(edges=[1, 3, 1e300]), "do not define slices of a column"),
        (lambda found: found["cut"].update(names=["a"]), "1 names and the edges"),
        (lambda found: found["cut"].update(categorical=False), "categorical=False cannot be slices of C2"),
        (lambda found: found["worst"].update(value="C2=99"), "'C2=99' is not one of the slices"),
        (lambda found: found["guard"].update(by="C99"), "C99"),
    ],
)
def test_damaged_rule_is_refused(built: Outcome, tmp_path: Path, change: Any, message: str) -> None:
    contents = json.loads((built.path / "certificate.json").read_text(encoding="utf-8"))
    change(contents["worst_slice"])
    (tmp_path / "certificate.json").write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(ArtifactError, match=rf"certificate\.json: .*{message}.* [Qq]uantize again"):
        read_certificate(tmp_path)
