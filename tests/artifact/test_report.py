"""report.html and result.json: complete, self-contained, and safe whatever the names in them are."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.artifact.manifest import Manifest, file_sha256
from dlrm_pl.artifact.report import figures
from dlrm_pl.artifact.report.page import render
from dlrm_pl.artifact.summary import drop_line
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.artifact.writing.sensitivities import Sensitivities, Sensitivity
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.pages.colours import LIGHT
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from tests.support import tiny
from tests.support.html_elements import Elements
from tests.support.quantization import reports
from tests.support.report_figures import figures_drawn

HOSTILE = '<script>alert("x")</script> & <img src=x onerror=alert(1)> "quoted"'


@pytest.fixture(scope="module", autouse=True)
def _drawn() -> Iterator[None]:
    with figures_drawn():
        yield


@pytest.fixture(scope="module")
def page(outcome: Outcome) -> str:
    return render(reports.of_artifact(outcome.path, reason=HOSTILE, settings={"strategy": HOSTILE}))


def test_artifact_holds_a_report_and_a_result_with_checksums(outcome: Outcome) -> None:
    files = Manifest.read(outcome.path).files
    for name in ("report.html", "result.json"):
        assert files[name] == file_sha256(outcome.path / name)
    text = (outcome.path / "report.html").read_text(encoding="utf-8")
    assert "Quantized DLRM: accepted" in text
    assert f"{outcome.certificate.fp32['auroc']:.6f}" in text
    assert outcome.manifest.model_fingerprint in text


def test_page_is_well_formed_and_has_every_figure(page: str) -> None:
    found = Elements(page)
    assert found.open == []
    assert found.seen["svg"] == found.seen["figure"] == found.seen["figcaption"] == 6
    assert [name for name, count in Counter(found.ids).items() if count > 1] == []
    for _, name, value in found.attributes:
        if name == "aria-labelledby":
            assert value in found.ids


def test_page_asks_nothing_of_the_network_and_runs_nothing(page: str) -> None:
    found = Elements(page)
    assert found.seen["script"] == found.seen["link"] == found.seen["img"] == found.seen["iframe"] == 0
    for tag, name, value in found.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "action"):
            assert value is not None
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert "url(http" not in (value or "")
    assert "default-src 'none'" in page


def test_hostile_names_are_text(page: str) -> None:
    words = "".join(Elements(page).words)
    assert words.count('<script>alert("x")</script> & <img src=x onerror=alert(1)> "quoted"') == 2
    assert "<b>made up</b> & failed" in words
    assert "<script" not in page


def test_headings_and_labels_are_those_of_the_field(page: str) -> None:
    words = Elements(page).words
    for label in ("Trade-offs (Pareto front)", "Row ranges (disjoint)", "Provenance", "passed", "dominated"):
        assert label in words
    assert "hollow markers are dominated" in page
    assert re.search(r"Bytes of \d+ tables: [\d.,]+ (bytes|KiB) in fp32, [\d.,]+ (bytes|KiB) in the artifact\.", page)
    assert not re.search(r"\d kB", page)


def test_every_colour_is_the_pages_own(page: str) -> None:
    drawn = re.sub(r"<style>.*?</style>", "", page[page.index("<body>") :], flags=re.DOTALL)
    colours = set(re.findall(r"#[0-9a-f]{6}\b", drawn))
    assert colours <= {"#000000"}, colours  # matplotlib's default inside hatches and definitions
    used = set(re.findall(r"var\(--(\w+)\)", drawn))
    assert used <= LIGHT.keys()


def test_trials_and_front_are_all_there(page: str) -> None:
    words = Elements(page).words
    tried = reports.trials()
    for trial in tried:
        if trial.verdict is not None:
            assert f"{trial.drop:+.6f}" in words
    median = sorted(trial.rows for trial in tried if trial.rows)[14]
    assert f"The median trial read {median:,} of 200,000 tuning rows ({median / 200_000:.1%})" in page


def test_search_without_rows_and_speeds_is_drawn_as_far_as_it_is_known(outcome: Outcome) -> None:
    tried = [dataclasses.replace(trial, rows=0, samples_per_s=0.0) for trial in reports.trials(count=1)]
    found = reports.of_artifact(
        outcome.path, trials=tried, best=1, pareto=[1], sensitivities=Sensitivities((), "not measured: made up")
    )
    text = render(found)
    assert "Not measured: made up." in text
    assert "its score reads the rows itself" in text
    assert Elements(text).seen["svg"] == 4


def test_op_measured_in_several_dtypes_is_drawn_in_that_of_the_artifact(outcome: Outcome) -> None:
    drops = tuple(Sensitivity("tables.1", dtype, 0.001) for dtype in ("fp16", "int8", "int4"))
    drawn = figures.sensitivities(reports.of_artifact(outcome.path, sensitivities=Sensitivities(drops, "made up")))
    assert drawn is not None
    assert re.findall(r">(tables\.1 \w+)<", drawn) == ["tables.1 int8"]


def test_infinite_bounds_are_drawn(outcome: Outcome) -> None:
    """Too few clicks give no bound."""
    trial = reports.trials(count=1)[0]
    assert trial.verdict is not None
    unbounded = dataclasses.replace(trial.verdict, low=-np.inf, bound=np.inf)
    found = reports.of_artifact(
        outcome.path, trials=[dataclasses.replace(trial, verdict=unbounded)], best=1, pareto=[1]
    )
    drawn = figures.pareto(found)
    assert drawn is not None
    assert "inf" not in re.sub(r"<title.*?</title>", "", drawn)


def test_result_tells_reason_front_and_settings(outcome: Outcome) -> None:
    result = json.loads((outcome.path / "result.json").read_text())
    assert result["accepted"] is outcome.certificate.accepted
    assert result["reason"] == outcome.certificate.reason
    assert [point["number"] for point in result["pareto"]] == [trial.number for trial in outcome.tuning.pareto]
    best = outcome.tuning.best
    assert result["best"]["model_bytes"] == best.model_bytes
    assert result["best"]["drop"] == best.drop
    assert Recipe.from_dict(result["best"]["recipe"]) == best.recipe
    assert result["search"]["stopped_because"] == outcome.tuning.stopped_because
    assert result["settings"]["criterion"]["relative"] == 0.02
    assert result["sensitivities"]["drops"] == []
    assert "not measured" in result["sensitivities"]["source"]


def test_drops_that_the_strategy_measured_are_taken() -> None:
    measured = [{"op": "tables.1", "dtype": "int4", "drop": 0.002, "standard_error": 0.001, "logit_mse": 0.1}]
    found = Sensitivities.found_in({"order": [3, 1], "sensitivities of 1 changes": measured}, reports.trials())
    assert [(drop.op, drop.dtype, drop.drop, drop.standard_error) for drop in found.drops] == [
        ("tables.1", "int4", 0.002, 0.001)
    ]
    plain = Sensitivities.found_in({"drops": {"tables.0": 0.5}}, [])
    assert [(drop.op, drop.drop) for drop in plain.drops] == [("tables.0", 0.5)]


def test_drops_are_told_by_trials_that_differ_in_one_op() -> None:
    from tests.support.quantization import searches

    start = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
    tried = [
        searches.trial(start, 0.010, 1),
        searches.trial(start.with_dtype("tables.1", "fp16"), 0.004, 2),
        searches.trial(start.with_dtype("tables.1", "fp32"), 0.003, 3),
        searches.trial(start.with_dtype("tables.1", "fp16").with_dtype("top_mlp.0", "bf16"), 0.001, 4),
        searches.trial(dataclasses.replace(start, observer="kl"), 0.002, 5),
        searches.trial(dataclasses.replace(start, observer="kl").with_dtype("top_mlp.1", "bf16"), 0.002, 6),
        searches.trial(start.with_dtype("bottom_mlp.0", "bf16"), None, 7),
    ]
    found = Sensitivities.found_in({}, tried)
    assert [(drop.op, drop.dtype) for drop in found.drops] == [("tables.1", "int8")]
    assert found.drops[0].drop == pytest.approx(0.007)
    assert Sensitivities.found_in({}, tried[:1]).drops == ()


def test_certain_scores_are_counted() -> None:
    histogram = ScoreHistogram()
    histogram.add(np.array([-1000.0, 1000.0, 0.0], np.float32), np.array([0, 1, 1], np.uint8))
    assert histogram.predicted.sum() == 1.5
    assert histogram.rows[0] == histogram.rows[-1] == 1
    assert histogram.rows.sum() == 3
    assert histogram.clicks.sum() == 2
    assert histogram.edges[np.flatnonzero(histogram.rows)[1]] == 0.0


def test_figures_are_the_same_each_time(outcome: Outcome) -> None:
    data = reports.of_artifact(outcome.path)
    assert figures.reliability(data) == figures.reliability(data)


def test_report_of_an_undecided_model_says_so(tmp_path: Path) -> None:
    from tests.support.artifacts import build

    outcome = build(tmp_path / "a", absolute=0.0)
    text = (outcome.path / "report.html").read_text()
    assert '<span class="bad">undecided</span>' in text
    assert "the 3,000 certification rows are too few to decide" in text


def test_a_reason_that_the_drop_states_already_is_not_repeated(outcome: Outcome) -> None:
    page = (outcome.path / "report.html").read_text(encoding="utf-8")
    assert outcome.certificate.reason in drop_line(outcome.certificate)
    header = page[page.index("<header>") : page.index("</header>")]
    assert header.count("AUROC drop") == 1
    other = render(reports.of_artifact(outcome.path, reason="the reason of another outcome"))
    assert "<p>The reason of another outcome.</p>" in other
