"""An artifact of the tiny model, built once."""

from __future__ import annotations

import pytest

from dlrm_pl.artifact.writing.outcome import Outcome
from tests.support.artifacts import build


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return build(tmp_path_factory.mktemp("plotted") / "artifact")
