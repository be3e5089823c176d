"""`synthesize` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.artifact.manifest import file_sha256
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
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


def test_columns_are_those_of_a_file_or_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("label: y\ndense: [{name: x, type: float}]\nsparse: [{name: s, at_most: 3}]\n")
    options = ("--rows", 300, "--max_table_size", 30)
    assert run("synthesize", "--output", tmp_path / "mine", "--columns", path, *options) == 0
    mine = DatasetFolder.open(tmp_path / "mine").columns
    assert mine.names == ("y", "x", "s")
    assert run("synthesize", "--output", tmp_path / "logs", "--columns", "avazu", "--format", "csv", *options) == 0
    header = (tmp_path / "logs" / "day_0.csv").read_text().partition("\n")[0]
    assert header.replace('"', "").split(",") == list(Columns.read("avazu").names)
    capsys.readouterr()
    assert run("synthesize", "--output", tmp_path / "x", "--columns", path, "--format", "csv", *options) == 2
    error = capsys.readouterr().err
    assert "format=csv cannot hold the lists of column s. Choose dataset or parquet." in error
    assert not (tmp_path / "x").exists()
