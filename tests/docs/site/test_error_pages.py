"""The pages of error messages contain every message of the code as its user sees it."""

from __future__ import annotations

import ast
import html
import re
from functools import cache
from pathlib import Path

import pytest

from dlrm_pl import DLRMError, DLRMTrainer, errors
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.quantization.judging.criterion import Criterion
from docs.mkdocs.errors.code import Code
from docs.mkdocs.errors.messages import messages
from docs.mkdocs.errors.pages import AREAS, PAGE, area_of, error_pages, remedy_of, table_of_classes
from docs.mkdocs.errors.templates import CLOSE, OPEN
from tests.docs.pages import ROOT
from tests.docs.site.html import read

pytestmark = pytest.mark.untraced

# Errors whose text users never see: signals between our functions, and texts that another message replaces.
INSIDE = {
    "ClientGoneError": "the client that would read it has gone",
    "CompilationError": "a row of the table says that the model could not be compiled",
    "MachineError": "the messages of the cluster name the machine and the reason",
    "OverloadedError": "the server answers with a message of its own",
    "_WrongValueError": "`fields.py` makes its parts a sentence",
}


def code() -> Code:
    return Code.of(ROOT)


@cache
def pages() -> dict[str, str]:
    return error_pages(code(), messages(code()))


@cache
def plain() -> str:
    """Return the text of all pages, without markup and class names, which stand between error and remedy."""
    return squeezed(html.unescape(re.sub(r"<code>[^<]*</code>|<[^>]+>", " ", "\n".join(pages().values()))))


def squeezed(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()


def literals(node: ast.AST) -> list[str]:
    """Return the strings in an expression, except search strings and separators of its own functions."""
    found = []
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            found += (
                [part.value] if len(re.findall(r"[A-Za-z]{2,}", part.value)) > 1 and " " in part.value.strip() else []
            )
    return found


def test_every_message_of_the_code_is_on_a_page() -> None:
    """Finds raised errors differently from the pages: by the words in their expressions."""
    missing, seen = [], 0
    ours = {node.name for module in code().modules for node in module.nodes if isinstance(node, ast.ClassDef)}
    for module in code().modules:
        for node in ast.walk(module.tree):
            made = node.exc if isinstance(node, ast.Raise) else node
            if not isinstance(made, ast.Call):
                continue
            name = ast.unparse(made.func).split(".")[-1]
            if not isinstance(node, ast.Raise) and not name.endswith("Error"):
                continue
            if name in INSIDE or (re.match("_?[A-Z]", name) and name not in ours):
                continue  # Raised by Python or a library: part of one of our messages, or a mistake in our own code.
            for text in literals(made):
                seen += 1
                if squeezed(text) not in plain():
                    missing.append(f"{module.path}:{made.lineno}: {text!r}")
    assert missing == [], "docs/mkdocs/errors/ does not understand how these messages are made"
    assert seen > 1000


def test_a_message_that_is_not_on_a_page_is_found() -> None:
    raised = ast.parse('raise ConfigurationError(f"{name}: the moon is not full tonight")')
    (text,) = literals(raised)
    assert squeezed(text) not in plain()


@pytest.mark.parametrize(
    ("area", "cause"),
    [
        ("quantization", lambda: Criterion(relative=-1.0)),
        ("datasets", lambda: DatasetFolder.open("no/such/folder")),
        ("columns", lambda: Columns("click", (), ())),
        ("training", lambda: DLRMTrainer(strategy="fsdp", accelerator="cpu")),
    ],
)
def test_a_message_that_a_user_sees_fits_one_of_its_area(area: str, cause: object) -> None:
    assert callable(cause)
    with pytest.raises(DLRMError) as raised:
        cause()
    seen = " ".join(str(raised.value).split())
    templates = [message for message in messages(code()) if message.error == type(raised.value).__name__]
    fitting = {area_of(one.module).name for one in templates if fits(one.text, seen)}
    assert area in fitting, seen


def fits(template: str, text: str) -> bool:
    """Tell whether a text fits a template with values filled in; alternatives are not distinguished."""
    parts = re.split(f"{OPEN}[^{CLOSE}]*{CLOSE}", template)
    return re.fullmatch(".*".join(re.escape(part) for part in parts), text) is not None


def test_what_to_do_is_told_from_what_was_wrong() -> None:
    assert remedy_of("⟨path⟩: is empty. Name a log with at least one row.") == "Name a log with at least one row."
    assert remedy_of("seed=⟨seed⟩ must be 0 or more.") == ""
    assert remedy_of("x: is cut short; copy it again.") == "copy it again."
    assert remedy_of("Two columns have one name. Each needs its own.") == ""
    bold = sum(page.count("<strong>") for page in pages().values())
    assert bold > 300


def test_every_area_has_messages() -> None:
    assert all('<h3 class="message"' in pages()[f"reference/errors/{area.name}.md"] for area in AREAS)


def test_table_of_classes_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / PAGE).read_text()
    assert table_of_classes(code()) in text, "write it again: python -m docs.mkdocs.errors.pages"
    public = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert set(re.findall(r"^\| `(\w+Error)` \|", text, re.MULTILINE)) == public - {"DLRMError"}


def test_statuses_of_the_server_are_shown() -> None:
    assert re.search(r"The body has .*</h3>\n.*<code>HTTP 413</code>", pages()["reference/errors/server.md"])


@pytest.mark.slow
def test_no_markup_breaks_a_page(site: Path) -> None:
    for area in AREAS:
        page = read(site / f"reference/errors/{area.name}/index.html")
        expected = pages()[f"reference/errors/{area.name}.md"]
        assert page.blocks["h3"] == expected.count("<h3 ")
        assert page.blocks["h2"] == len(re.findall("^## ", expected, re.MULTILINE))
        anchors = re.findall(r'id="(message-\w+)"', expected)
        assert len(anchors) == len(set(anchors))
        assert set(anchors) <= page.ids
