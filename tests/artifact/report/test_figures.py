"""Figures of a report show the numbers of the certificate and trials where their axes indicate."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.report.figures.interval import interval
from dlrm_pl.artifact.report.figures.judged import judged
from dlrm_pl.artifact.report.figures.search import rows_read
from dlrm_pl.artifact.report.figures.table_bytes import table_bytes
from dlrm_pl.artifact.writing.outcome import Outcome
from tests.support.quantization import reports

SVG = "{http://www.w3.org/2000/svg}"


class Axis:
    """The horizontal axis of a drawing, derived from its first and last tick as a reader would."""

    def __init__(self, root: ElementTree.Element, unit: str = "") -> None:
        number = re.compile(rf"-?[\d.]+{unit}")
        ticks = [
            (float(text.attrib["x"]), float((text.text or "").removesuffix(unit)))
            for text in root.iter(f"{SVG}text")
            if text.attrib.get("text-anchor") == "middle" and number.fullmatch(text.text or "")
        ]
        (self.x, self.value), (last, high) = min(ticks), max(ticks)
        self.unit = (high - self.value) / (last - self.x)
        self.precision = 0.11 * self.unit

    def at(self, x: float) -> float:
        return self.value + (x - self.x) * self.unit


def drop_certificate(outcome: Outcome, low: float | None, drop: float, high: float | None, tolerance: float) -> Any:
    return dataclasses.replace(
        outcome.certificate,
        fp32=outcome.certificate.fp32 | {"auroc": 0.8},
        auroc_drop=drop,
        auroc_drop_at_least=low,
        auroc_drop_at_most=high,
        tolerance=tolerance,
    )


def vertical(root: ElementTree.Element, colour: str) -> list[float]:
    """Return the positions of the vertical lines of a colour."""
    lines = [p for p in root.iter(f"{SVG}path") if p.attrib.get("stroke") == f"var(--{colour})"]
    found = [re.fullmatch(r"M([-\d.]+) [-\d.]+V[-\d.]+", line.attrib["d"]) for line in lines]
    return [float(match[1]) for match in found if match]


CASES = [
    (0.0002, 0.0004, 0.0006, 0.0008, "good"),
    (-0.0009, -0.0002, 0.0005, 0.0008, "good"),
    (0.0012, 0.0016, 0.002, 0.0008, "bad"),
    (0.24, 0.25, 0.26, 0.0008, "bad"),
    (-0.0004, 0.0004, 0.0012, 0.0008, "ink"),
    (-0.02, 0.004, 0.03, 0.0, "ink"),
]


@pytest.mark.parametrize(("low", "drop", "high", "tolerance", "colour"), CASES)
def test_interval_lies_where_the_certificate_says(
    outcome: Outcome, low: float, drop: float, high: float, tolerance: float, colour: str
) -> None:
    drawn = interval(drop_certificate(outcome, low, drop, high, tolerance))
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    axis = Axis(root)
    (point,) = root.iter(f"{SVG}circle")
    assert axis.at(float(point.attrib["cx"])) == pytest.approx(100 * drop / 0.8, abs=axis.precision)
    assert point.attrib["fill"] == f"var(--{colour})"
    ends = [axis.at(x) for x in vertical(root, colour)]
    limits = [100 * tolerance / 0.8] if colour == "bad" else []
    assert sorted(ends) == pytest.approx(sorted([100 * low / 0.8, 100 * high / 0.8, *limits]), abs=axis.precision)
    (area,) = root.iter(f"{SVG}rect")
    assert axis.at(float(area.attrib["x"])) == pytest.approx(100 * tolerance / 0.8, abs=axis.precision)
    assert any(abs(axis.at(x)) < axis.precision for x in vertical(root, "muted")), "zero"
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert f"drop {100 * drop / 0.8:.4f}%" in words
    assert f"tolerance {100 * tolerance / 0.8:.4f}%" in words
    assert (f"at most {100 * high / 0.8:.4f}% (95% confidence)" in words) == (colour != "bad")
    assert (f"at least {100 * low / 0.8:.4f}% (95% confidence)" in words) == (colour != "good")


def test_interval_without_bounds_or_without_a_tolerance(outcome: Outcome) -> None:
    unbounded = interval(drop_certificate(outcome, None, 0.0004, None, 0.0008))
    other = interval(dataclasses.replace(drop_certificate(outcome, 0.0, 0.0004, 0.001, 0.0008), score="F1"))
    assert unbounded is not None
    assert other is not None
    assert "confidence" not in unbounded
    assert "tolerance" not in other
    assert len(list(ElementTree.fromstring(other).iter(f"{SVG}rect"))) == 0


def test_no_interval_where_nothing_is_known(outcome: Outcome) -> None:
    unscored = dataclasses.replace(outcome.certificate, **Certificate.unmeasured(0.95, "bound"), tolerance=math.nan)
    assert interval(unscored) is None
    assert judged(unscored) is None
    nothing = dataclasses.replace(outcome.certificate, fp32=outcome.certificate.fp32 | {"auroc": 0.0})
    assert interval(nothing) is None


def test_all_that_is_judged_is_drawn_in_percent_of_its_tolerance(outcome: Outcome) -> None:
    certificate = drop_certificate(outcome, 0.0002, 0.0004, 0.0006, 0.0008)
    guards = [
        dataclasses.replace(guard, change=change, tolerance=0.01, at_least=change - 0.001, at_most=change + 0.001)
        for guard, change in zip(certificate.guards, (0.002, 0.002, -0.005), strict=True)
    ]
    guards[1] = dataclasses.replace(guards[1], passed=False, tolerance=0.001, at_least=0.0015, at_most=0.0025)
    drawn = judged(dataclasses.replace(certificate, guards=tuple(guards)))
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    axis = Axis(root, "%")
    rows = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}text") is not None][-4:]
    names = [(row.find(f"{SVG}title").text or "").partition(":")[0] for row in rows]  # type: ignore[union-attr]
    assert names == ["AUROC drop", "log loss", "normalized entropy", "calibration ratio"]
    points = [axis.at(float(row.find(f"{SVG}circle").attrib["cx"])) for row in (rows[0], rows[1], rows[3])]  # type: ignore[union-attr]
    assert points == pytest.approx([50, 20, 50], abs=axis.precision)
    bars = [re.findall(r"[-\d.]+", row.find(f"{SVG}path").attrib["d"]) for row in rows]  # type: ignore[union-attr]
    assert [axis.at(float(bar[0])) for bar in bars] == pytest.approx([25, 10, 150, -60], abs=axis.precision)
    assert [axis.at(float(bar[2])) for bar in bars] == pytest.approx([75, 30, 250, -40], abs=axis.precision)
    assert [axis.at(x) for x in vertical(root, "bad")] == pytest.approx([100], abs=axis.precision)


def test_a_change_that_is_far_beyond_its_tolerance_is_written(outcome: Outcome) -> None:
    guard = dataclasses.replace(outcome.certificate.guards[0], change=0.5, tolerance=0.005, passed=False)
    drawn = judged(dataclasses.replace(outcome.certificate, guards=(guard,)))
    assert drawn is not None
    assert ">10,000%<" in drawn
    unknown = dataclasses.replace(guard, change=None, at_least=None, at_most=None)
    assert ">from zero<" in (judged(dataclasses.replace(outcome.certificate, guards=(unknown,))) or "")


def test_bars_of_bytes_are_to_scale(outcome: Outcome) -> None:
    data = reports.of_artifact(outcome.path)
    root = ElementTree.fromstring(table_bytes(data))
    bars = [rect for rect in root.iter(f"{SVG}rect")][2:]  # The first two rectangles are in the legend.
    widths = [float(bar.attrib["width"]) for bar in bars]
    sizes = [size for table in data.table_sizes for size in (table.fp32_bytes, table.artifact_bytes)]
    unit = widths[0] / sizes[0]
    assert widths == pytest.approx([unit * size for size in sizes], abs=0.11)
    assert len({bar.attrib["x"] for bar in bars}) == 1
    zero = next(text for text in root.iter(f"{SVG}text") if text.text == "0 bytes")
    assert zero.attrib["x"] == bars[0].attrib["x"]


def test_rows_read_are_to_scale_up_to_all_rows(outcome: Outcome) -> None:
    data = reports.of_artifact(outcome.path, tuning_rows=1 << 17)
    drawn = rows_read(data)
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    bars = dict[str | None, ElementTree.Element]()
    for group in root.iter(f"{SVG}g"):
        title, bar = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        if title is not None and bar is not None:
            bars[title.text] = bar
    assert len(bars) == 29
    hollow = {name for name, bar in bars.items() if bar.attrib["fill"] == "none"}
    assert hollow == {f"trial {t.number}: {t.rows:,} rows" for t in data.trials if t.rows and not t.accepted}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ticks_of_rows_read_are_those_of_trials(outcome: Outcome, count: int) -> None:
    data = reports.of_artifact(outcome.path, tuning_rows=1 << 17)
    drawn = rows_read(dataclasses.replace(data, trials=[trial for trial in data.trials if trial.rows][:count]))
    assert drawn is not None
    ticks = [text.text for text in ElementTree.fromstring(drawn).iter(f"{SVG}text") if (text.text or "").isdecimal()]
    assert [tick for tick in ticks if tick != "0"] == [str(number + 1) for number in range(count)]
