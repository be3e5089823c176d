"""An artifact of a model whose tables have several blocks."""

from __future__ import annotations

import pytest

from tests.support import tiny
from tests.support.refreshing import ARCHITECTURE, Made, full


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    model = tiny.model(0, ARCHITECTURE)
    return Made(model, full(model, tmp_path_factory.mktemp("base") / "first").path)
