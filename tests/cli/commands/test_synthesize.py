"""`synthesize` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.artifact.manifest import file_sha256
from dlrm_pl.data.formats.binary_format import split_file_name
from tests.support.commands import run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_synthesize_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    options = ("--rows", 2000, "--max_table_size", 30)
    sums = []
    for _ in range(2):
        assert run("synthesize", "--output", tmp_path / "data", *options) == 0
        sums.append([file_sha256(tmp_path / "data" / split_file_name(split)) for split in ("train", "val", "test")])  # type: ignore[arg-type]
    assert sums[0] == sums[1]
