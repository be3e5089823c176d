"""The page of a benchmark shows all contenders with their speeds, batch sizes and threads."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dlrm_pl.benchmark.comparison import Comparison
from dlrm_pl.benchmark.contenders import float_contenders
from dlrm_pl.benchmark.page import figures
from dlrm_pl.benchmark.page.explanations import CONTENDERS, EXPLANATIONS
from dlrm_pl.benchmark.page.page import render
from dlrm_pl.benchmark.page.sentence import speed_sentence
from dlrm_pl.benchmark.plot import render as render_picture
from dlrm_pl.benchmark.rivals import choice
from dlrm_pl.benchmark.rivals.choice import NAMES, with_rivals
from dlrm_pl.benchmark.run import recognize_benchmark
from dlrm_pl.files.replacement import PlannedOutput
from tests.support import benchmarks, tiny
from tests.support.html_elements import Elements

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("x")</script>'
EXPORTED = benchmarks.LABELS | {"exported_onnx": "exported, onnx", "exported_openvino": "exported, openvino"}


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return benchmarks.comparison()


def test_page_is_well_formed_and_asks_nothing_of_the_network(compared: Comparison) -> None:
    found = Elements(render(benchmarks.report(compared)))
    assert found.open == []
    assert found.seen["script"] == found.seen["link"] == found.seen["img"] == 0
    assert (
        found.seen["svg"] == 1 + 2 * 2 + 8
    )  # The chosen cell, two line charts for each number of threads, one drawing for each cell.
    for tag, name, value in found.attributes:
        if name == "href":
            assert (value or "").startswith("#"), tag
            assert (value or "")[1:] in found.ids


def test_every_speed_is_there_with_batch_size_and_threads(compared: Comparison) -> None:
    page = ElementTree.fromstring(
        re.sub(r"<meta[^>]*>", "", render(benchmarks.report(compared))).replace("<!DOCTYPE html>", "")
    )
    tables = {caption.text or "": table for caption, table in _tables(page)}
    for cell in compared.cells:
        where = f"batch {cell.batch_size:,}, {cell.threads} thread{'s' * (cell.threads > 1)}: 20 rounds"
        (table,) = (table for caption, table in tables.items() if caption.startswith(where))
        rows = table.findall("tbody/tr")
        assert [row.findtext("th/a") for row in rows] == list(benchmarks.LABELS.values())
        for row, timing in zip(rows, cell.timings.values(), strict=True):
            cells = [found.text or "" for found in row.findall("td")]
            assert cells[0] == f"{timing.samples_per_s:,.0f}"
            assert float(cells[2].replace(",", "")) == pytest.approx(timing.p90_ms, rel=0.01)
            assert float(cells[3].replace(",", "")) == pytest.approx(timing.p99_ms, rel=0.01)
            assert cells[4] == f"{timing.ratio:.2f}"


def _tables(page: ElementTree.Element) -> list[tuple[ElementTree.Element, ElementTree.Element]]:
    found = []
    for parent in page.iter():
        children = list(parent)
        for caption, region in pairwise(children):
            if caption.attrib.get("class") == "caption":
                found.append((caption, region.find("table")))
    return found  # type: ignore[return-value]


def test_sentence_is_about_the_fastest_cell_and_the_fastest_rival(compared: Comparison) -> None:
    fastest = max(compared.cells, key=lambda cell: cell.timings["int8"].samples_per_s)
    assert (fastest.threads, fastest.batch_size) == (2, 16384)
    assert speed_sentence(compared) == (
        f"With batches of 16,384 on 2 threads, the int8 artifact scores {fastest.timings['int8'].samples_per_s:,.0f} "
        "samples per second, 13.50 times as many as fp32 eager (95% interval 12.96 to 14.04) and 3.00 times as many as "
        "the fastest other contender, bf16 compiled."
    )
    alone = speed_sentence(benchmarks.comparison({"int8": "int8"}, (32,), (1,)))
    assert re.fullmatch(
        r"With batches of 32 on 1 thread, the int8 artifact scores [\d,]+ samples per second; it was timed alone\.",
        alone,
    )


def test_bars_start_at_zero_and_have_one_scale(compared: Comparison) -> None:
    scale = figures.bar_scale(compared)
    lengths = []
    for cell in compared.cells:
        root = ElementTree.fromstring(figures.cell_bars(compared, cell, scale))
        bars = list(root.iter(f"{SVG}rect"))
        zero = next(text for text in root.iter(f"{SVG}text") if text.text == "0")
        assert {bar.attrib["x"] for bar in bars} == {zero.attrib["x"]}
        lengths.append([float(bar.attrib["width"]) for bar in bars])
        ratios = [timing.ratio for timing in cell.timings.values()]
        unit = lengths[-1][-1] / ratios[-1]
        assert lengths[-1] == pytest.approx([unit * ratio for ratio in ratios], abs=0.11)
    assert all(length == lengths[0] for length in lengths)


def test_an_interval_that_reaches_far_does_not_shrink_the_bars() -> None:
    compared = benchmarks.comparison(batch_sizes=(32,), threads=(1,))
    (cell,) = compared.cells
    wild = dataclasses.replace(cell.timings["int8"], ratio_interval=(1.0, 4000.0))
    changed = dataclasses.replace(compared, cells=(dataclasses.replace(cell, timings=cell.timings | {"int8": wild}),))
    assert figures.bar_scale(changed).high < 60
    assert "(1.00 to 4000.00)" in render(benchmarks.report(changed))


def test_lines_go_through_all_speeds(compared: Comparison) -> None:
    cells = [cell for cell in compared.cells if cell.threads == 1]
    root = ElementTree.fromstring(figures.throughput(compared, cells))
    words = [title.text for title in root.iter(f"{SVG}title")]
    for cell in cells:
        for name, timing in cell.timings.items():
            where = f"{benchmarks.LABELS[name]}, batch {cell.batch_size:,}, 1 thread"
            assert f"{where}: {timing.samples_per_s:,.0f} samples per second" in words
    times = ElementTree.fromstring(figures.latency(compared, cells))
    assert {text.text for text in times.iter(f"{SVG}text")} >= {"median", "99th percentile", "1", "2,048", "16,384"}


def test_exported_models_have_looks_colours_and_explanations_of_their_own() -> None:
    """The picture also needs a colour for each."""
    compared = benchmarks.comparison(EXPORTED, (2048,), (1,))
    page = render(benchmarks.report(compared))
    assert "The artifact in another format (exported, onnx)" in page
    assert len({figures.look_of(name, compared) for name in EXPORTED}) == len(EXPORTED)
    picture = ElementTree.fromstring(render_picture(compared, "words"))
    bars = [rect.attrib["fill"] for rect in picture.iter(f"{SVG}rect") if rect.attrib["width"] == "12"]
    assert len(set(bars)) == len(EXPORTED)
    figure, _ = compared.plot()
    assert len(figure.axes) == 1


def test_contenders_that_did_not_run_are_named_with_the_reason() -> None:
    compared = benchmarks.comparison(batch_sizes=(1, 32), **{f"bf16 {HOSTILE}": f"no memory {HOSTILE}"})
    page = render(benchmarks.report(compared, artifact=HOSTILE, rows=HOSTILE))
    assert "<script" not in page
    words = "".join(Elements(page).words)
    assert f"bf16 {HOSTILE}: No memory {HOSTILE}." in words
    assert "Not available" in words
    assert words.count(HOSTILE) == 4


def test_a_contender_that_failed_in_one_cell_is_left_out_there() -> None:
    compared = benchmarks.comparison(batch_sizes=(1, 32), threads=(1,))
    first, second = compared.cells
    timings = {name: timing for name, timing in second.timings.items() if name != "bf16_compiled"}
    changed = dataclasses.replace(compared, cells=(first, dataclasses.replace(second, timings=timings)))
    text = speed_sentence(changed)
    assert text.endswith("the fastest other contender, int8 MLPs, eager.")
    assert Elements(render(benchmarks.report(changed))).open == []


def test_alone_it_is_said_how_to_compare() -> None:
    page = render(benchmarks.report(benchmarks.comparison({"int8": "int8"}, (32,), (1,))))
    assert "With --ckpt_path, the command benchmark compares it with the float model." in page
    assert "Agreement with fp32" not in page
    assert "samples per second, with 95% intervals" in page


def test_explanations_are_sentences_and_all_words_are_explained(compared: Comparison) -> None:
    for name, words in EXPLANATIONS.items():
        assert re.fullmatch(r"[A-Z].*\.", words), name
    page = ElementTree.fromstring(
        re.sub(r"<meta[^>]*>", "", render(benchmarks.report(compared))).replace("<!DOCTYPE html>", "")
    )
    for table in page.iter("table"):
        headings = table.findall("thead/tr/th")
        if headings[-1].text != "meaning":
            assert all(heading.find("a") is not None for heading in headings[1:])
    explained = {group.findtext("dt") for group in page.findall("body/footer/section/dl/div")}
    assert explained == set(EXPLANATIONS) | set(benchmarks.LABELS.values())


def test_folder_has_the_page_and_may_be_replaced_with_it(tmp_path: Path, compared: Comparison) -> None:
    for _ in range(2):
        planned = PlannedOutput("benchmark", {"seconds": 1.0}, recognize_benchmark, False)
        benchmarks.report(compared).write(tmp_path / "out", planned)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "benchmark.html",
        "benchmark.json",
        "benchmark.svg",
    }


def test_every_contender_of_the_program_has_an_explanation_and_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "missing_packages", lambda modules: "")
    monkeypatch.setattr(choice, "require_fbgemm", lambda: None)
    calibration = tiny.batches(2, 64)
    floats = float_contenders(tiny.model(), calibration)
    found = with_rivals(floats, tiny.model(), calibration, NAMES)
    assert found.unavailable == {}
    names = {contender.name for contender in found.available}
    assert names | {"int8"} == CONTENDERS.keys() == figures.LOOKS.keys()
    assert len(set(figures.LOOKS.values())) == len(figures.LOOKS)
