"""report.html and result.json are complete, self-contained, and safe with any names in them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from dlrm_pl.artifact.manifest import Manifest, file_sha256
from dlrm_pl.artifact.report.explanations import EXPLANATIONS
from dlrm_pl.artifact.report.figures.probabilities import reliability
from dlrm_pl.artifact.report.figures.search import pareto, sensitivities
from dlrm_pl.artifact.report.page import FIGURES, render
from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.artifact.writing.sensitivities import Sensitivities, Sensitivity
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.pages.colours import LIGHT
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.search.objective import Latency
from tests.support import tiny
from tests.support.html_elements import Elements
from tests.support.quantization import reports

HOSTILE = '<script>alert("x")</script> & <img src=x onerror=alert(1)> "quoted"'


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
    assert found.seen["svg"] == found.seen["figure"] == found.seen["figcaption"] == 8
    assert [name for name, count in Counter(found.ids).items() if count > 1] == []
    for tag, name, value in found.attributes:
        if name == "aria-describedby" or (tag == "a" and name == "href"):
            assert (value or "").removeprefix("#") in found.ids


def test_curves_of_the_training_are_drawn_where_they_are_known(page: str, outcome: Outcome) -> None:
    assert "<h2>Training</h2>" not in page
    record = TrainingRecord(loss="bce", rows_of_step=64, threads=2, step=1_234)
    record.losses.extend([0.5, 0.4], first=617, last=1_234)
    record.validations.add(1_234, [0.81, 0.4])
    text = render(reports.of_artifact(outcome.path, training=record))
    found = Elements(text)
    assert found.open == []
    assert found.seen["svg"] == found.seen["figure"] == 10
    assert "1,234 optimizer steps. AUROC on val: best 0.810000 at step 1,234" in text
    assert {"about-optimizer-step", "about-training-loss"} <= set(found.ids)


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


def test_hostile_names_of_columns_are_text(outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReportData, "table_names", property(lambda data: [HOSTILE] * len(data.table_sizes)))
    page = render(reports.of_artifact(outcome.path, refreshed_from=HOSTILE))
    found = Elements(page)
    assert found.open == []
    assert found.seen["script"] == found.seen["img"] == 0
    assert "".join(found.words).count(HOSTILE) >= 3 * 2 + 1


def test_headings_and_labels_are_those_of_the_field(page: str) -> None:
    words = Elements(page).words
    for label in ("Pareto front", "Row ranges (disjoint)", "Provenance", "passed", "dominated"):
        assert label in words
    assert "hollow markers are dominated" in page
    assert re.search(r"Bytes of \d+ tables: [\d.,]+ (bytes|KiB) in fp32, [\d.,]+ (bytes|KiB) in the artifact\.", page)
    assert not re.search(r"\d kB", page)


def test_every_colour_is_the_pages_own(page: str) -> None:
    drawn = re.sub(r"<style>.*?</style>", "", page[page.index("<body>") :], flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)
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
    assert Elements(text).seen["svg"] == 6


def test_op_measured_in_several_dtypes_is_drawn_in_that_of_the_artifact(outcome: Outcome) -> None:
    drops = tuple(Sensitivity("tables.1", dtype, 0.001) for dtype in ("fp16", "int8", "int4"))
    drawn = sensitivities(reports.of_artifact(outcome.path, sensitivities=Sensitivities(drops, "made up")))
    assert drawn is not None
    assert re.findall(r"<text[^>]*>(tables\.1 \w+)<", drawn) == ["tables.1 int8"]


def test_infinite_bounds_are_drawn(outcome: Outcome) -> None:
    """Too few clicks give no finite bound."""
    trial = reports.trials(count=1)[0]
    assert trial.verdict is not None
    unbounded = dataclasses.replace(trial.verdict, low=-np.inf, bound=np.inf)
    found = reports.of_artifact(
        outcome.path, trials=[dataclasses.replace(trial, verdict=unbounded)], best=1, pareto=[1]
    )
    drawn = pareto(found)
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
    assert reliability(data) == reliability(data)


def test_report_of_an_undecided_model_says_so(tmp_path: Path) -> None:
    from tests.support.artifacts import build

    outcome = build(tmp_path / "a", absolute=0.0)
    text = (outcome.path / "report.html").read_text()
    assert '<span class="bad">Undecided</span>: the ' in text
    assert "the 3,000 certification rows are too few to decide" in text


def test_a_reason_that_the_verdict_states_already_is_not_repeated(outcome: Outcome) -> None:
    page = (outcome.path / "report.html").read_text(encoding="utf-8")
    header = "".join(Elements(page[page.index("<header>") : page.index("</header>") + 9]).words)
    assert header.count("with 95% confidence") == 1
    other = render(reports.of_artifact(outcome.path, reason="the reason of another outcome"))
    assert "<p>The reason of another outcome.</p>" in other


def test_every_number_is_explained(page: str) -> None:
    """In the name of its row or column, or in words beside it; and each explanation is on the page once."""
    found = ElementTree.fromstring(re.sub(r"<meta[^>]*>", "", page).replace("<!DOCTYPE html>", ""))
    unexplained = []
    for table in found.iter("table"):
        headings = list(table.iter("th"))[: len(table.findall("thead/tr/th"))]
        in_words = [heading.text for heading in headings][-1:] == ["meaning"]
        for row in table.findall("tbody/tr"):
            by_row = row.find("th/a") is not None
            for number in range(1, len(row.findall("td")) + 1):
                if not (by_row or in_words or headings[number].find("a") is not None):
                    unexplained.append("".join(headings[number].itertext()))
    assert set(unexplained) <= {"names", "values"}
    explained = [group.attrib["id"] for group in found.findall("body/footer/section/dl/div")]
    assert len(explained) == len(set(explained))
    assert len(explained) > 35


def test_every_setting_has_a_meaning(outcome: Outcome) -> None:
    text = (outcome.path / "report.html").read_text()
    section = text[text.index("<h2>Search settings") : text.index("<h2>Provenance")]
    rows = re.findall(r"<tr><th[^>]*>([^<]*)</th><td[^>]*>[^<]*</td><td[^>]*>([^<]*)</td></tr>", section)
    assert len(rows) > 25
    assert [name for name, meaning in rows if not meaning] == []


def test_explanations_are_sentences() -> None:
    for name, words in EXPLANATIONS.items():
        assert words.endswith("."), name
        assert words[0].isupper() or words.startswith(("int8", "fp32")), name


def test_speeds_have_a_batch_size_and_threads(outcome: Outcome) -> None:
    trials = reports.trials(count=20)
    timed = [dataclasses.replace(trial, latency=Latency(3.0, 2.0, 1.0, 512, 7)) for trial in trials if trial.accepted]
    machine = outcome.certificate.machine | {"threads": 3}
    certificate = dataclasses.replace(outcome.certificate, machine=machine)
    for tried, words in (
        (trials, "Speeds are rough figures from scoring the tuning rows: batch 1,000, 3 threads."),
        (
            [*timed, trials[0]],
            "in turn with those of float models: batch 512, 7 threads. The other speeds are rough figures",
        ),
    ):
        text = render(reports.report_data(outcome.manifest, certificate, trials=tried, best=tried[0].number))
        assert words in text
        assert "samples per second, batch 1,000, 3 threads" in text


def test_refreshed_artifact_names_the_one_before(outcome: Outcome) -> None:
    text = render(reports.of_artifact(outcome.path, refreshed_from="of <monday>"))
    assert "It was refreshed from the artifact of &lt;monday&gt;: its recipe was kept" in text


def test_every_figure_describes_itself(outcome: Outcome) -> None:
    data = reports.of_artifact(outcome.path)
    for name, draw in FIGURES.items():
        drawn = draw(data)
        assert drawn is not None, name
        assert len(ElementTree.fromstring(drawn).attrib["aria-label"]) > 40, name
