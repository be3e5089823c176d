"""Fixtures and helpers for tests of the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import run, write_config


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Leave logging as it was, whatever a command configured."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers


@pytest.fixture
def drawn() -> None:
    """For tests that look at a picture."""


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing the curves' pictures, which takes as long as the trainings of these tests."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("dlrm_pl.pages.figures.raster.write_png", _write_nothing)


def _write_nothing(path: Path, *_: object, **__: object) -> None:
    path.write_bytes(b"\x89PNG")


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Path:
    """A folder with config.yaml, run/model.ckpt and artifact/, made by `fit`."""
    folder = tmp_path_factory.mktemp("fitted")
    assert run("fit", "-c", write_config(folder, synthetic_folder)) == 0
    return folder
