"""The site, built once for the tests that read it, which are slow: the build takes fifteen seconds.

The fast tests read the pages in the repository: their links, their places in the navigation, and the messages and
names from which they are generated.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.site.building import build
from tests.support.made_once import made_once


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, as ``make docs`` builds it: any warning of MkDocs is an error."""
    return made_once(tmp_path_factory, "site", build)
