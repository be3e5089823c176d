"""The parts that all pages share: escaping, terms, readable colours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import DictLoader, UndefinedError

from dlrm_pl.pages import page as page_module
from dlrm_pl.pages.colours import DARK, LIGHT, SERIES
from dlrm_pl.pages.page import environment
from dlrm_pl.pages.table import Table
from dlrm_pl.pages.terms import Terms
from tests.support.html_elements import Elements

HOSTILE = '<script>alert("x")</script> & <img src=x onerror=alert(1)> "quoted"'
STYLE = Path(page_module.__file__).with_name("templates").joinpath("style.css").read_text()
TEMPLATE = """{% extends "page.html.jinja" %}
{% from "parts.html.jinja" import details, drawing, table %}
{% block title %}{{ title }}{% endblock %}
{% block header %}<h1>{{ title }}</h1>{% endblock %}
{% block main %}{{ table(facts) }}{{ details("more", terms["late"]) }}{% endblock %}
"""


def rendered(terms: Terms, facts: Table, title: str = "a page") -> str:
    made = environment("dlrm_pl.pages")
    made.loader = DictLoader(_sources())
    return made.get_template("test").render(title=title, facts=facts, terms=terms)


def _sources() -> dict[str, str]:
    folder = Path(page_module.__file__).with_name("templates")
    return {path.name: path.read_text() for path in folder.iterdir()} | {"test": TEMPLATE}


def test_a_value_that_the_template_lacks_is_an_error_and_not_blank() -> None:
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        environment("dlrm_pl.pages").from_string("{{ nothing }}").render()


def test_texts_of_any_origin_are_escaped() -> None:
    terms = Terms({HOSTILE: HOSTILE, "late": HOSTILE})
    page = rendered(terms, Table(HOSTILE, ("", HOSTILE), [(HOSTILE, 1), (terms[HOSTILE], HOSTILE)]), HOSTILE)
    found = Elements(page)
    assert found.open == []
    assert found.seen["script"] == found.seen["img"] == 0
    assert "".join(found.words).count(HOSTILE) >= 8


def test_cells_of_a_column_are_aligned_alike() -> None:
    rows = [
        ("a", "0", "0.5%", "1,200", "no", "1.25x"),
        ("b", "05db9164", "12.1 ms", "unknown", "yes", "-0.5"),
        ("c", "68fd1e64", "1e-05 (0 to 1)", "3", "undecided", ""),
    ]
    table = Table("", ("", "value", "share", "rows", "passed", "difference"), rows)
    assert table.column_kinds == ["", "", "number", "number", "", "number"]
    assert [kind for row in rows for kind in table.cell_kinds(row)[1:4]] == ["", "number", "number"] * 3
    assert table.cell_kinds(rows[0])[4] == "bad"
    page = rendered(Terms({"late": ""}), table)
    assert "<td>0</td>" in page
    assert "<td>05db9164</td>" in page
    assert '<td class="number">unknown</td>' in page


def test_terms_that_were_used_are_explained_once_at_the_end() -> None:
    terms = Terms({"log loss": "How far off.", "late": "Used by the template.", "unused": "Never."})
    page = rendered(terms, Table("", ("", "value"), [(terms["log loss"], "1"), (terms.named("log loss", "loss"), "2")]))
    found = Elements(page)
    assert sorted(found.ids) == ["about-late", "about-log-loss"]
    links = [value for tag, name, value in found.attributes if tag == "a" and name == "href"]
    assert links == ["#about-log-loss", "#about-log-loss", "#about-late"]
    described = [value for _, name, value in found.attributes if name == "aria-describedby"]
    assert described == ["about-log-loss", "about-log-loss", "about-late"]
    assert "Never." not in page
    assert page.index("</main>") < page.index('id="about-late"') < page.index('id="about-log-loss"')


def test_a_text_with_terms_is_escaped_and_has_the_first_mention_of_each_linked() -> None:
    terms = Terms({"log loss": HOSTILE, "loss": "Another."})
    linked = terms.linked(f"{HOSTILE}: the log loss, the loss, log loss & glossy", "log loss", "loss", "absent")
    found = Elements(linked)
    assert found.seen == {"a": 2, "span": 2}
    assert "".join(found.words) == f"{HOSTILE}: the log loss{HOSTILE}, the lossAnother., log loss & glossy"
    assert Terms({}).linked(HOSTILE) == HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(
        '"', "&#34;"
    )


def test_a_term_without_an_explanation_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        Terms({})["nothing"]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("background", ["paper", "soft"])
def test_text_can_be_read_on_its_background(colours: dict[str, str], background: str) -> None:
    """WCAG 2 requires a contrast of 4.5 for text and of 3 for lines and bars."""
    paper = luminance(colours[background])
    needed = dict.fromkeys(("ink", "muted", "int8", "good", "bad"), 4.5) | dict.fromkeys((*SERIES, "fp32"), 3.0)
    for name, contrast in needed.items():
        bright, dim = sorted((luminance(colours[name]), paper), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= contrast, name


def test_every_colour_is_one_of_both_palettes() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert set(re.findall(r"var\(--(\w+)\)", STYLE)) <= LIGHT.keys()
    assert not re.search(r"#[0-9a-f]{3,6}\b", STYLE)


def test_paper_is_light() -> None:
    """The dark colours apply only to screens."""
    page = rendered(Terms({"late": ""}), Table("", ("", ""), []))
    assert page.count("prefers-color-scheme") == page.count("@media screen and (prefers-color-scheme: dark){") == 1
