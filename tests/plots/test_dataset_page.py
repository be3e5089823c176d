"""Datasets as pages and pictures show all numbers of the survey, and are safe with any names."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from matplotlib.image import imread

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.survey.labels import LabelRate
from dlrm_pl.data.survey.skew import IdSkew
from dlrm_pl.data.survey.survey import Survey
from dlrm_pl.plots import dataset as page_of_dataset
from dlrm_pl.plots.dataset import dataset_portrait
from dlrm_pl.plots.dataset_figures import (
    MOST_NAMED,
    label_rate_figure,
    missing_figure,
    skew_figure,
    table_sizes_figure,
)
from dlrm_pl.plots.write import write_portrait
from tests.support.html_elements import Elements

HOSTILE = '<script>alert("x")</script> & $\\frac{1}{2}$'
FEW = Columns.of_statement(
    {
        "label": "click",
        "dense": [{"name": "price $5"}],
        "sparse": [{"name": HOSTILE[:60], "kind": "string"}, {"name": "tags", "kind": "string", "at_most": 3}],
    },
    "here",
)


def made_up(**changes: object) -> Survey:
    splits = (LabelRate("train", 900, 0.1), LabelRate("test", 100, 0.25))
    found = Survey(
        path=Path("/data/clicks"),
        columns=FEW,
        fingerprint="0123456789abcdef",
        splits=splits,
        rates=tuple(LabelRate(f"day {n}", 100, 0.1 + 0.01 * n) for n in range(10)),
        table_sizes=(70, 30),
        missing={"price $5": 0.5, HOSTILE[:60]: 0.0, "tags": 0.00004},
        why_not_missing="",
        sampled_split="train",
        sampled=900,
        skew=(
            IdSkew(HOSTILE[:60], 900, 70, (0.5, 0.75, 1.0, 1.0)),
            IdSkew("tags", 9, 3, (0.4, 1.0, 1.0, 1.0), 0.1, 1.5),
        ),
        best_possible_auroc={"test": 0.75},
        report={
            "rows": 1_200,
            "rejected": {"no label": 7},
            "unknown_values": 12,
            "cut_lists": 3,
            "largest_shares": [{"column": "tags", "value": HOSTILE, "share": 0.25}],
            "warnings": [f"day 3: {HOSTILE}"],
        },
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def page(found: Survey, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(page_of_dataset, "survey", lambda path: found)
    write_portrait(dataset_portrait(found.path), folder / "page.html")
    return (folder / "page.html").read_text(encoding="utf-8")


def test_the_page_says_which_values_were_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = {**(made_up().report or {}), "largest_shares": [], "uncounted_columns": 1}
    assert "Values were not counted in 1 categorical column." in page(made_up(report=report), tmp_path, monkeypatch)


def test_the_page_says_that_missing_values_have_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "A missing value is stored as an id too" in page(made_up(), tmp_path, monkeypatch)


def titles(figure: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("title")]


def texts(figure: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("text")]


def boxes(figure: str) -> list[tuple[float, float]]:
    """Return the left edge and width of all boxes."""
    found = [element for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("rect")]
    return [(float(box.attrib["x"]), float(box.attrib["width"])) for box in found]


def test_page_has_all_numbers_and_explains_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page(made_up(), tmp_path, monkeypatch)
    words = " ".join(" ".join(Elements(text).words).split())
    for number in (
        "1,000 rows with 11.500% clicks",
        "10.0000%",
        "25.0000%",
        "0.750000",
        "0123456789abcdef",
        "50.0000%",
    ):
        assert number in words
    for number in ("0.0040%", "7 no label", "1,200", "12", "900", "75.00%", "70.00%", "1.50", "10.00%"):
        assert number in words
    used = set(re.findall(r'href="#about-([a-z0-9-]+)"', text))
    assert used == set(re.findall(r'id="about-([a-z0-9-]+)"', text))
    assert len(used) > 12


def test_page_is_whole_and_runs_and_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page(made_up(), tmp_path, monkeypatch)
    elements = Elements(text)
    assert elements.open == []
    assert elements.seen["script"] == elements.seen["img"] == elements.seen["link"] == 0
    assert elements.seen["svg"] == 4
    assert "default-src 'none'" in text
    assert not [value for _, name, value in elements.attributes if name == "href" and not str(value).startswith("#")]
    assert HOSTILE in " ".join(elements.words)


def test_pictures_have_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_of_dataset, "survey", lambda path: made_up())
    portrait = dataset_portrait(Path("/data/clicks"))
    write_portrait(portrait, tmp_path / "a.png")
    assert imread(tmp_path / "a.png").shape[1] > 1_500
    assert len(portrait.figures) == 4


def test_bars_of_days_begin_at_zero_and_have_their_rates() -> None:
    figure = label_rate_figure(made_up().rates)
    assert titles(figure)[:2] == ["day 0: 10.0000% of 100 rows", "day 1: 11.0000% of 100 rows"]
    assert "0%" in texts(figure)
    assert {str(day) for day in range(0, 10, 2)} <= set(texts(figure))
    single = label_rate_figure(made_up().rates[:1])
    assert "0" in texts(single)


def test_very_many_days_are_a_line() -> None:
    rates = [LabelRate(f"day {n}", 100, 0.1) for n in range(300)]
    figure = label_rate_figure(rates)
    assert boxes(figure) == []
    assert "for 300 parts" in figure


def test_rates_of_a_sample_have_whiskers_and_say_so() -> None:
    rates = [LabelRate(f"day {n}", 10**9, 0.03, sampled=1_000) for n in range(3)]
    assert "day 0: 3.0000% in a sample of 1,000 of 1,000,000,000 rows" in titles(label_rate_figure(rates))
    splits = [LabelRate("train", 10**9, 0.03, sampled=1_000)]
    assert "3.000%" in texts(label_rate_figure(splits))


def test_table_sizes_are_to_scale_and_the_largest_of_many() -> None:
    figure = table_sizes_figure(["a", "b", "c"], [1_000, 500, 1])
    (left, long), (other, half), _ = boxes(figure)
    assert left == other
    assert half == pytest.approx(long / 2, abs=0.2)
    assert {"1,000", "500", "1"} <= set(texts(figure))
    sizes = list(range(1, 201))
    many = table_sizes_figure([f"t{size}" for size in sizes], sizes)
    assert len(boxes(many)) == MOST_NAMED + 1
    assert f"{200 - MOST_NAMED} others" in texts(many)
    assert f"{sum(range(1, 201 - MOST_NAMED)):,}" in texts(many)


def test_shares_of_ids_are_stacked() -> None:
    figure = skew_figure(made_up())
    drawn = boxes(figure)[4:]  # After those of the legend.
    (one, first), (two, second), (three, third), (_, fourth) = drawn[:4]
    assert two == pytest.approx(one + first, abs=0.2)
    assert three == pytest.approx(two + second, abs=0.2)
    assert second == pytest.approx(first / 2, abs=0.2)
    assert third == pytest.approx(first / 2, abs=0.2)
    assert fourth == 0
    assert "share of the ids in 900 rows of train" in texts(figure)


def test_missing_values_are_sorted_and_never_zero() -> None:
    figure = missing_figure([("a", 0.0), ("b", 0.00004), ("c", 0.5)])
    assert figure is not None
    shown = [text for text in texts(figure) if text in ("a", "b", "c", "50.0%", "0.004%")]
    assert shown == ["c", "50.0%", "b", "0.004%"]
    assert missing_figure([("a", 0.0)]) is None


def test_what_is_not_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made_up(missing=None, why_not_missing="nobody counted", table_sizes=None, report={}, best_possible_auroc={})
    text = page(found, tmp_path, monkeypatch)
    assert "Unknown: nobody counted." in text
    assert "data.table_sizes does" in text
    assert Elements(text).seen["svg"] == 2
    none = page(made_up(missing={"a": 0.0}), tmp_path, monkeypatch)
    assert "No value is missing" in none
