"""The pages of the public names contain all names, with the contents of their docstrings."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import dlrm_pl
from dlrm_pl.documents.docstrings import attribute_descriptions
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.workflow.config import QuantizationConfig
from docs.mkdocs.python_pages import FOLDER, SUBJECTS, public_names
from tests.docs.pages import ROOT
from tests.docs.site.html import read

pytestmark = pytest.mark.untraced


def test_every_exported_name_has_a_place() -> None:
    names = {name.path: name for name in public_names(ROOT)}
    assert {name for name in dlrm_pl.__all__ if not name.startswith("__")} <= {path.split(".")[-1] for path in names}
    known = {(name.module, name.name) for name in names.values()}
    for stub in (ROOT / "dlrm_pl").rglob("__init__.pyi"):
        module = import_module(".".join(stub.parent.relative_to(ROOT).parts))
        for name in module.__all__:
            value = getattr(module, name)
            if not name.startswith("__") and hasattr(value, "__qualname__") and value.__qualname__ == name:
                assert (value.__module__, name) in known
    assert all(name.summary for name in names.values())


@pytest.mark.slow
def test_every_name_is_described_once(site: Path) -> None:
    for name in public_names(ROOT):
        places = [page for page in SUBJECTS if name.path in read(site / FOLDER / page / "index.html").ids]
        assert places == [name.subject], name.path


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_docstrings_are_read_as_they_are_meant(subject: str, site: Path) -> None:
    page = read(site / FOLDER / subject / "index.html")
    assert not page.blocks["blockquote"], "an example is read as text"
    assert not re.search(r"^\s*(Args|Example):\s*$", page.text, re.MULTILINE)
    assert "Examples:" in page.text
    assert "``" not in page.text


@pytest.mark.slow
def test_descriptions_that_another_class_has_are_there(site: Path) -> None:
    """Two docstrings are completed when the code is imported, which Griffe does not do by itself."""
    text = " ".join(read(site / FOLDER / "training" / "index.html").text.split())
    for source in (TuningSettings, QuantizationConfig):
        for name, description in attribute_descriptions(source).items():
            if name in inspect.signature(dlrm_pl.QuantizationCallback).parameters:
                assert description.replace("``", "").rstrip(".") in text, name
