"""The drawing: heights of bars are in proportion to any values."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.plot import render
from dlrm_pl.benchmark.timer import Timing

SVG = "{http://www.w3.org/2000/svg}"


def timing(ratio: float, high: float | None = None) -> Timing:
    return Timing(100.0, 1.0, 1.0, 1.0, (0.9, 1.1), ratio, (ratio, high or ratio), calls=6, rounds=6)


def drawn(comparison: Comparison) -> ElementTree.Element:
    return ElementTree.fromstring(render(comparison, "a <machine> & its rows"))


def comparison(*cells: Cell, **unavailable: str) -> Comparison:
    labels = {"fp32": "fp32 eager", "bf16": "bf16 eager", "int8": "int8"}
    return Comparison(labels, unavailable, "fp32", {}, cells)


@pytest.mark.parametrize("largest", [0.003, 1.0, 1.9, 12.0, 999.0, 1e6])
def test_bars_are_in_proportion_and_inside_the_drawing(largest: float) -> None:
    cell = Cell(1, 32, {"fp32": timing(largest / 4), "int8": timing(largest)})
    root = drawn(comparison(cell))
    bars = [rect for rect in root.findall(f"{SVG}rect") if float(rect.attrib["width"]) not in (12, 960)]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[1] / heights[0] == pytest.approx(4, rel=0.01)
    assert 90 < heights[1] <= 190
    assert all(float(bar.attrib["y"]) > 92 for bar in bars)


def whiskers(root: ElementTree.Element) -> list[str]:
    return [path.attrib["d"] for path in root.findall(f"{SVG}path[@class='whisker']")]


@pytest.mark.parametrize("high", [4.0, 5.0, 11.9])
def test_axis_covers_the_intervals(high: float) -> None:
    root = drawn(comparison(Cell(1, 32, {"fp32": timing(1), "int8": timing(4, high)})))
    bars = [rect for rect in root.findall(f"{SVG}rect") if float(rect.attrib["width"]) not in (12, 960)]
    pixels = float(bars[1].attrib["height"]) / 4
    low_end, high_end = (float(y) for y in whiskers(root)[1].split(" ")[1].split("V"))
    assert low_end - high_end == pytest.approx((high - 4) * pixels, abs=0.11)
    assert high_end > 92 + 20  # Below the title of the panel.
    assert len(whiskers(root)) == 2


def test_an_interval_that_reaches_far_is_cut_and_says_so() -> None:
    near, far, farther = (
        drawn(comparison(Cell(1, 32, {"fp32": timing(1), "int8": timing(4, high)}))) for high in (12, 400, 4000)
    )
    bars = [[bar.attrib for bar in root.findall(f"{SVG}rect")] for root in (near, far, farther)]
    assert bars[0] == bars[1] == bars[2]
    assert len(whiskers(far)) == 3  # The clipped interval has an arrowhead.
    assert "4.0 (to 400)" in [text.text for text in far.iter(f"{SVG}text")]


def test_a_panel_for_each_number_of_threads_and_a_note_for_what_is_missing() -> None:
    cells = [Cell(threads, 1, {"fp32": timing(1)}) for threads in (1, 4)]
    texts = [text.text for text in drawn(comparison(*cells, **{"int8": "no reason"})).iter(f"{SVG}text")]
    assert {"1 thread", "4 threads", "batch 1", "int8 (not available)", "a <machine> & its rows"} <= set(texts)


def test_matplotlib_draws_a_panel_for_each_number_of_threads() -> None:
    cells = [
        Cell(threads, size, {"fp32": timing(1), "int8": timing(4, 5)} | ({"bf16": timing(2)} if size == 1 else {}))
        for threads in (1, 4)
        for size in (1, 32)
    ]
    figure, panels = comparison(*cells).plot()
    assert figure.axes == panels
    assert [axes.get_title() for axes in panels] == ["1 thread", "4 threads"]
    assert [axes.get_ylabel() for axes in panels] == ["times fp32 eager"] * 2
    bars = sorted(panels[0].patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in bars] == [1, 2, 4, 1, 4]
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["fp32 eager", "bf16 eager", "int8"]
    assert panels[0].get_ylim()[1] > 5


def test_matplotlib_draws_samples_a_second_where_one_contender_ran() -> None:
    alone = Comparison({"int8": "int8"}, {}, "int8", {}, (Cell(1, 32, {"int8": timing(1)}),))
    _, (axes,) = alone.plot()
    assert axes.get_ylabel() == "samples per second"
    assert [bar.get_height() for bar in axes.patches] == [timing(1).samples_per_s]
