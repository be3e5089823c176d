"""Fixtures for tests of several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.made_once import made_once
from tests.support.processes.sharded_cases import write_one_hot


@pytest.fixture(scope="session")
def few_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 12,000 rows with six tables, because dividing a table takes longer than training on it."""
    return made_once(tmp_path_factory, "few_tables", write_one_hot)
