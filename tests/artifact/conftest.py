"""An artifact of the tiny model, built once and copied for tests that damage it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlrm_pl.artifact.writing.outcome import Outcome
from tests.support.artifacts import build


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return build(tmp_path_factory.mktemp("built") / "artifact")


@pytest.fixture
def artifact_path(outcome: Outcome, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(outcome.path, tmp_path / "artifact"))
