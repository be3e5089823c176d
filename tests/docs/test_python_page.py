"""docs/python.md has every public name with its signature and its example."""

from __future__ import annotations

import re

import dlrm_pl
from tests.docs.api_page import MARKER, PAGE, generated

HINT = "write the page again: python -m tests.docs.api_page"


def test_every_public_name_is_on_the_page_and_nothing_else() -> None:
    described = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(described) == sorted(name for name in dlrm_pl.__all__ if not name.startswith("__")), HINT


def test_signatures_and_examples_are_those_of_the_code() -> None:
    assert PAGE.read_text().partition(MARKER)[2].strip() == generated().strip(), HINT
