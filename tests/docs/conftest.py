"""The quick start's files on few rows, for pages that continue where the quick start ends."""

from __future__ import annotations

import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from tests.docs.running import run_command
from tests.support.made_once import made_once

_SMALL = ["--rows", "24000", "--days", "3", "--max_table_size", "100", "--label_rate", "0.2", "--best_auroc", "0.85"]


@pytest.fixture(scope="session")
def _quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the quick start's dataset, run and artifact with its own commands."""
    return made_once(tmp_path_factory, "quickstart", _make)


def _make(folder: Path) -> None:
    folder.mkdir()
    with chdir(folder):
        status, output = run_command(["synthesize", "--output", "datasets/quickstart", *_SMALL])
        assert status == 0, output
        status, output = run_command(["fit", "-c", "quickstart"])
        assert status in (0, 4), output  # With so few rows the certificate may be undecided.


@pytest.fixture
def quickstart(_quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy these files into the current folder."""
    folder = tmp_path / "page"
    shutil.copytree(_quickstart, folder)
    monkeypatch.chdir(folder)
    return folder
