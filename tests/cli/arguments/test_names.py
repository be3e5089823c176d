"""Each option has one name in all commands; earlier names are read with a warning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlrm_pl.cli.arguments.names import with_data_settings, with_present_names
from tests.support.commands import run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_earlier_names_are_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="dlrm_pl"):
        args = with_present_names("import-checkpoint", ["--reference", "a.pt", "--to_reference=b.pt"])
    assert args == ["--upstream", "a.pt", "--to_upstream=b.pt"]
    assert "--reference is now called --upstream; the earlier name will be removed" in caplog.text
    assert with_present_names("preprocess", ["--workers=3", "--raw", "--x"]) == ["--threads=3", "--raw", "--x"]
    assert with_present_names("inspect", ["--reference", "x"]) == ["--reference", "x"]


def test_settings_of_the_data_have_the_names_of_other_commands(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("folder: x")
    args = ["--data", str(tmp_path), "--raw", "log", "--split=val", "--batch_size", "8"]
    assert with_data_settings("predict", args) == [
        *("--data.folder", str(tmp_path), "--data.predict_raw", "log"),
        *("--data.predict_split=val", "--data.eval_batch_size", "8"),
    ]
    assert with_data_settings("fit", [f"--data={tmp_path}"]) == [f"--data.folder={tmp_path}"]
    file = ["--data", str(tmp_path / "data.yaml")]
    assert with_data_settings("fit", file) == file


def test_options_of_the_sharded_strategy_can_follow_its_name() -> None:
    options = ["--trainer.strategy.sharding", "row_wise"]
    for given in (["--trainer.strategy", "sharded"], ["--trainer.strategy=sharded"]):
        args = with_data_settings("fit", [*given, *options])
        strategy = "=".join(args[:-2]).removeprefix("--trainer.strategy=")
        assert json.loads(strategy) == {"class_path": "dlrm_pl.distributed.strategy.ShardedStrategy"}
        assert args[-2:] == options
    assert with_data_settings("fit", ["--data.predict_raw", "sharded"]) == ["--data.predict_raw", "sharded"]


def test_predict_has_one_set_of_names(fitted: Path, synthetic_folder: Path, tmp_path: Path) -> None:
    options = ("--data", synthetic_folder, "--split", "val", "--batch_size", "500")
    assert run("predict", "--artifact", fitted / "artifact", *options, "--output", tmp_path / "int8.csv") == 0
    checkpoint = ("-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    assert run("predict", *checkpoint, *options, "--output", tmp_path / "fp32.csv") == 0
    rows = [(tmp_path / name).read_text().count("\n") for name in ("int8.csv", "fp32.csv")]
    assert rows[0] == rows[1] > 0


def test_true_needs_no_value(fitted: Path) -> None:
    for options in (("--full",), ("--full", "true"), ("--full=true",)):
        assert run("inspect", fitted / "artifact", *options) == 0
