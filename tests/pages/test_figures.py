"""Marks in figures lie at their values, for any values."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dlrm_pl.pages.colours import LIGHT
from dlrm_pl.pages.figures.chart import WIDTH, Chart, figure
from dlrm_pl.pages.figures.named_bars import Bar, NamedBars, named_bars
from dlrm_pl.pages.figures.scale import Scale

SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.floats(-1e12, 1e12)


def elements(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


@given(st.lists(VALUES, min_size=1, max_size=9), st.booleans(), st.booleans())
@example([1e12, 1e12 + 1e-3], False, False)
@example([0.0, 5e-324], True, False)
@example([5e-324], False, False)
@example([1.0, 1.0 + 1e-8], False, True)
def test_linear_scale_holds_all_values_in_order(values: list[float], zero: bool, whole: bool) -> None:
    scale = Scale.linear([*values, math.inf, math.nan], zero=zero, whole=whole)
    assert scale.low <= min(values) <= max(values) <= scale.high
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert len(scale.ticks) == len(scale.labels) <= 8
    room = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - room <= tick <= scale.high + room for tick in scale.ticks)
    if zero:
        assert scale.low <= 0 <= scale.high


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0, 26], ["0", "5", "10", "15", "20", "25"]),
        ([-0.001, 0.004], ["-0.001", "0.000", "0.001", "0.002", "0.003", "0.004"]),
        ([0, 4e6], ["0", "1 M", "2 M", "3 M", "4 M"]),
    ],
)
def test_ticks_are_round(values: list[float], labels: list[str]) -> None:
    assert list(Scale.linear(values, room=0.0).labels) == labels


def test_bars_start_at_zero() -> None:
    assert Scale.linear([5, 9], zero=True).low == 0
    assert Scale.linear([-5, -9], zero=True).high == 0
    assert Scale.of_bytes(3 << 20).at(0) == 0


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=9))
def test_logarithmic_scale_keeps_ratios(values: list[float]) -> None:
    scale = Scale.log([*values, 0.0, -1.0])
    middle = math.sqrt(scale.low) * math.sqrt(scale.high)
    assert scale.at(middle) == pytest.approx(0.5, abs=1e-6)
    assert 1 <= len(scale.ticks) <= 9 or scale.high / scale.low < 5
    assert scale.at(0.0) == 0


@pytest.mark.parametrize("largest", [1, 4, 1000, 1536, 5 << 30, 3 << 40])
def test_ticks_of_bytes_are_whole_units_or_halves(largest: int) -> None:
    scale = Scale.of_bytes(largest)
    assert scale.labels[0] == "0 bytes"
    assert 3 <= len(scale.ticks) <= 5
    assert not any(re.search(r"\.[^5]", label) for label in scale.labels)


def test_points_and_lines_lie_where_their_values_are() -> None:
    chart = Chart(Scale.linear([0, 10], room=0), Scale.linear([0, 100], room=0), y_label="y", x_label="x")
    chart.line([(0, 0), (5, 50), (10, 100)], "int8", name="a line")
    chart.point(5, 50, "good", x_range=(2.5, math.inf), y_range=(-math.inf, 75), words="a point")
    root = elements(figure("words", [chart]))
    circle = root.find(f".//{SVG}circle")
    assert circle is not None
    paths = [path.attrib["d"] for path in root.iter(f"{SVG}path")]
    line = next(path for path in paths if path.count("L") == 2)
    places = [tuple(map(float, pair.split())) for pair in line[1:].split("L")]
    assert places[1] == (float(circle.attrib["cx"]), float(circle.attrib["cy"]))
    assert places[1][0] == pytest.approx((places[0][0] + places[2][0]) / 2, abs=0.1)
    assert places[1][1] == pytest.approx((places[0][1] + places[2][1]) / 2, abs=0.1)
    (x0, y0), (x2, y2) = places[0], places[2]
    horizontal, vertical = paths[-2:]
    ends = [float(end) for end in re.findall(r"[-\d.]+", horizontal)]
    assert (ends[0], ends[2]) == pytest.approx((x0 + 0.25 * (x2 - x0), x2), abs=0.1)
    ends = [float(end) for end in re.findall(r"[-\d.]+", vertical)]
    assert (ends[1], ends[2]) == pytest.approx((y0, y0 + 0.75 * (y2 - y0)), abs=0.1)
    assert [title.text for title in root.iter(f"{SVG}title")] == ["a line", "a point"]


def test_a_value_that_is_missing_breaks_the_line() -> None:
    chart = Chart(Scale.linear([0, 4]), Scale.linear([0, 1]))
    chart.line([(0, 0.1), (1, 0.2), (2, math.nan), (3, 0.5), (4, 0.1)], "int8", words="w")
    group = next(g for g in elements(figure("", [chart])).iter(f"{SVG}g") if g.find(f"{SVG}title") is not None)
    assert len(group.findall(f"{SVG}path")) == 2


@pytest.mark.parametrize("name", ["a", "a_column_with_a_very_long_name_that_fits_nowhere", '<script>"&'])
def test_names_stay_in_the_drawing_and_are_whole_on_hover(name: str) -> None:
    rows = [NamedBars(name, [Bar(3.0, "int8", (2.0, 4.0)), Bar(1.0, "fp32")], text="3")]
    root = elements(named_bars("bars", rows, Scale.linear([4.0], zero=True), label="things"))
    assert [title.text for title in root.iter(f"{SVG}title")] == [name]
    first, second = root.findall(f".//{SVG}rect")
    assert float(first.attrib["width"]) == pytest.approx(3 * float(second.attrib["width"]), abs=0.2)
    assert first.attrib["x"] == second.attrib["x"]
    written = [text for text in root.iter(f"{SVG}text") if text.attrib.get("text-anchor") == "end"]
    assert all(float(text.attrib["x"]) - 6 * len(text.text or "") > -1 for text in written)


def test_colours_are_those_of_the_page_and_words_are_in_the_label() -> None:
    chart = Chart(Scale.linear([0, 1]), Scale.log([1, 1000]))
    chart.bar(0.5, 0.2, 100, "good", name="one", hollow=True)
    chart.area([(0, 1), (1, 10)], "bad", name="two", base=1)
    chart.across(10, name="limit")
    chart.upright(0.5, words="middle")
    for shape in ("circle", "ring", "cross", "square", "diamond"):
        chart.point(0.5, 10, "ink", shape=shape, name=shape)
    svg = figure('what "this" & that show', [chart])
    root = elements(svg)
    assert root.attrib["aria-label"] == 'what "this" & that show'
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= LIGHT.keys()
    assert "#" not in svg
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {"one", "two", "limit", "circle", "cross"} <= set(words)
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.attrib["x"]) <= WIDTH
