"""An artifact to serve, built once, and the application that serves it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlrm_pl.artifact.store import Artifact, load_artifact
from tests.support.server.artifacts import build
from tests.support.server.calls import NAME, Caller


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with dictionaries; copy it before changing it."""
    return build(tmp_path_factory.mktemp("served") / "artifact")


@pytest.fixture(scope="session")
def newer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of another model for the same rows."""
    return build(tmp_path_factory.mktemp("newer") / "artifact", seed=5)


@pytest.fixture(scope="session")
def rejected_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that was not accepted."""
    return build(tmp_path_factory.mktemp("rejected") / "artifact", relative=1e-9)


@pytest.fixture(scope="session")
def artifact(served_folder: Path) -> Artifact:
    return load_artifact(served_folder)


@pytest.fixture
def folder(served_folder: Path, tmp_path: Path) -> Path:
    """A copy of the artifact."""
    return Path(shutil.copytree(served_folder, tmp_path / "artifact"))


@pytest.fixture(scope="module")
def caller(served_folder: Path) -> Iterator[Caller]:
    with Caller({NAME: served_folder}) as found:
        yield found
