"""A local Hub that this process's library uses, and artifacts to push."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlrm_pl.artifact.store import Artifact, load_artifact
from tests.support.hub.client import use_hub
from tests.support.hub.server import Hub, hub_running
from tests.support.server import artifacts as served


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_running() as running:
        use_hub(running, tmp_path / "cache", monkeypatch)
        yield running


@pytest.fixture(scope="session")
def _with_dictionaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.build(tmp_path_factory.mktemp("made") / "shop")


@pytest.fixture(scope="session")
def _not_accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.build(tmp_path_factory.mktemp("made") / "poor", relative=1e-6)


@pytest.fixture
def artifact(_with_dictionaries: Path, tmp_path: Path) -> Artifact:
    """An artifact with dictionaries, so that it scores raw values."""
    return load_artifact(shutil.copytree(_with_dictionaries, tmp_path / "shop"))


@pytest.fixture
def not_accepted(_not_accepted: Path, tmp_path: Path) -> Artifact:
    return load_artifact(shutil.copytree(_not_accepted, tmp_path / "poor"))
