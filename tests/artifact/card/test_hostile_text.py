"""Names of columns and models appear on a card as text, never as markup."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from dlrm_pl.artifact.card.card import render_card
from dlrm_pl.artifact.card.facts import CardFacts, read_facts
from dlrm_pl.artifact.card.markdown import literal, prose, table
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from tests.support import tiny
from tests.support.artifacts import change_certificate, change_manifest

NAMES = [
    "<script>alert(1)</script>",
    "[a](javascript:alert(1))",
    "![a](https://example.com/a.png)",
    "`code` ``more``",
    "a|b \\| c",
    "*bold* _em_ __init__ ~~gone~~ $x$",
    "# heading",
    "https://example.com www.example.com me@example.com",
    "&lt;b&gt; &#60;",
    "---",
    "- item",
    "'quoted' \"twice\"",
    "日本語 naïve 🚀",
]
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def tokens(text: str) -> list[Token]:
    found = []
    for token in PARSER.parse(text):
        found += [token, *(token.children or ())]
    return found


def shown(text: str) -> str:
    """Return the text that a Markdown reader displays."""
    return "".join(token.content for token in tokens(text) if token.type in ("text", "code_inline", "text_special"))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
@example("www.a")
@example("a_b __c__")
@example("`")
def test_text_is_shown_as_it_stands(text: str) -> None:
    for make in (prose, literal):
        line = f"x {make(text)} y"
        assert "\n" not in line
        assert {token.type for token in tokens(line)} <= {
            *("paragraph_open", "inline", "text", "code_inline", "text_special", "paragraph_close"),
        }
        escaped = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
        assert shown(line).split() == f"x {escaped} y".split()


@pytest.mark.parametrize("name", NAMES)
def test_text_stays_in_its_cell(name: str) -> None:
    found = tokens(table(("a", "b"), [(literal(name), "1"), (prose(name), "2")]))
    assert sum(token.type == "td_open" for token in found) == 4
    assert [token.content for token in found if token.type == "inline" and token.content in "12"] == ["1", "2"]


def test_hostile_names_of_columns_are_text(artifact_path: Path) -> None:
    dense = tiny.ARCHITECTURE.bottom_mlp[0]
    columns = Columns(
        NAMES[0],
        tuple(DenseColumn(name=name) for name in [*NAMES[1:], "rest"][:dense]),
        (SparseColumn(name="<img src=x>"), SparseColumn(name="x` | `y"), SparseColumn(name="]: http://a.b")),
    )

    def state(values: dict[str, Any]) -> None:
        values["columns"] = columns.statement()
        values["stopped_because"] = values["strategy"] = "<b>`|[x](y)\n# heading"
        values["machine"]["processor"] = "<i>fast</i>\n---"

    change_certificate(artifact_path, state)
    change_manifest(artifact_path, lambda manifest: manifest.columns.update(columns.statement()))
    text = render_card(read_facts(artifact_path, "<u>name</u> `x`\n---\nlicense: mit"))
    check_structure(text)
    body = text.partition("\n---\n")[2]
    for name in columns.names[:10]:
        assert name in shown(body), name


def check_structure(text: str) -> None:
    """Check that a card contains no markup except the program's own."""
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header).keys() <= {"library_name", "pipeline_tag", "tags", "metrics", "model-index"}
    kinds = [token.type for token in tokens(body)]
    assert not {"link_open", "image", "html_inline"} & set(kinds)
    html = [token.content for token in tokens(body) if token.type == "html_block"]
    assert len(html) == 1
    assert html[0].startswith("<!-- Written by `dlrm-pl card`")
    assert kinds.count("heading_open") == 9
    assert kinds.count("table_open") == 3


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_of_models_are_text(facts: CardFacts, name: str) -> None:
    text = render_card(dataclasses.replace(facts, name=name))
    check_structure(text)
    header = yaml.safe_load(text.split("---\n", 2)[1]) if not name.startswith("---") else None
    if header:
        assert header["model-index"][0]["name"] == name
    assert f"# {prose(name)}\n" in text
