"""Days of a raw log, and the result of one uninterrupted run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.data.preprocessing.run import preprocess
from tests.support.logs.raw_logs import MANY, contents, random_lines, write_days


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write four days of different sizes, 1.5 MB of text."""
    days = [random_lines(rows, seed) for seed, rows in enumerate((2500, 1, 3000, 1501))]
    return write_days(tmp_path_factory.mktemp("raw"), days)


@pytest.fixture(scope="session")
def expected(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the result of one uninterrupted run."""
    folder = tmp_path_factory.mktemp("expected") / "out"
    preprocess(raw, folder, MANY)
    return contents(folder)
