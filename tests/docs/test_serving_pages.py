"""Pages about the server install the packages that their requests need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

pytestmark = pytest.mark.untraced

_EXTRAS = re.compile(r"(?:dlrm-pl|['\"]\.)\[([\w,-]+)\]")
# Name of a request's input that is not a tensor of the model, so it is a column.
_RAW_INPUT = re.compile(r'raw values|"name": (?!"(?:dense|indices|logit|probability)")', re.IGNORECASE)


def text_of(page: Path) -> str:
    return page.read_text().replace('\\"', '"')  # Notebooks are JSON.


def extras_of_servers(text: str) -> list[set[str]]:
    """Return the extras of each installation command on a page that installs the server."""
    return [extras for found in _EXTRAS.findall(text) if "serve" in (extras := set(found.split(",")))]


SERVING = [page for page in [*PAGES, *ROOT.glob("examples/*.ipynb")] if extras_of_servers(text_of(page))]


def test_pages_that_install_the_server_are_found() -> None:
    names = {str(page.relative_to(ROOT)) for page in SERVING}
    assert names >= {"docs/tutorial.md", "docs/server.md", "deploy/README.md", "examples/own_data.ipynb"}


@pytest.mark.parametrize("page", SERVING, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_that_sends_raw_values_installs_pyarrow(page: Path) -> None:
    """The server turns columns of raw values into a frame, for which it needs the extra ``frames``."""
    text = text_of(page)
    if _RAW_INPUT.search(text):
        for extras in extras_of_servers(text):
            assert "frames" in extras, f"{page.name}: installs {sorted(extras)}"
