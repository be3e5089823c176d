"""Pictures on the pages are readable on a phone and on any background, are used, and agree with the code."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = sorted((ROOT / "docs").rglob("*.svg"))
WIDE = {"pipeline.svg"}
"""At the head of the README, for wide screens; docs/concepts/pipeline.svg shows the same for a phone."""


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pictures_are_readable(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    assert root.find(f"{SVG}title") is not None
    ground = root.find(f"{SVG}rect")
    assert ground is not None, "the letters are dark, so they need a ground of their own"
    assert (float(str(ground.get("width"))), float(str(ground.get("height")))) >= (width, height)
    assert ground.get("fill") == "#fff"
    if picture.parent.name == "docs" and picture.name in WIDE:
        return
    assert width <= 480, "on a phone of 390 pixels the letters would be too small"
    assert min(map(float, re.findall(r"font-size: ?([\d.]+)px", picture.read_text()))) >= 12
    for text in root.iter(f"{SVG}text"):
        assert text.get("transform") or 0 <= float(str(text.get("x"))) <= width
        assert text.get("transform") or 0 <= float(str(text.get("y"))) <= height


def test_every_picture_is_on_a_page() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"([\w/.-]+\.svg)", page.read_text())
    }
    assert set(PICTURES) <= shown


def test_folders_import_from_those_below_them_in_the_picture() -> None:
    """Folders beside each other in the picture do not import from each other."""
    root = ElementTree.parse(ROOT / "docs" / "rooms.svg").getroot()
    places: dict[str, tuple[float, float]] = {}
    for text in root.iter(f"{SVG}text"):
        if text.get("class") == "bold":
            for name in str(text.text).split(", "):
                places[name] = float(str(text.get("y"))), float(str(text.get("x")))
    folders = {path.name for path in (ROOT / "dlrm_pl").iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= set(places)
    for file in (ROOT / "dlrm_pl").rglob("*.py"):
        part = file.relative_to(ROOT / "dlrm_pl").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())) if part in places else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlrm_pl."):
                other = str(node.module).split(".")[1]
                if other in places and places[other] != places[part]:
                    assert places[other][0] > places[part][0], f"{file}: {part} imports {other}"
