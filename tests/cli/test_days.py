"""Days in TorchRec's format become a certified artifact without being copied."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from tests.support.commands import expect_error, run, write_config
from tests.support.logs.any_columns import write_dataset
from tests.support.logs.days import write_days

# Lightning warns about a short run's logging interval.
pytestmark = [pytest.mark.untraced, pytest.mark.filterwarnings("ignore::UserWarning")]

SIZES, BAGS = (40, 9, 300), (3, 1, 5)
ROWS = (2000, 2000, 2001)


@pytest.fixture(scope="module", params=["drawn", pytest.param("stored", marks=pytest.mark.slow)])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the configuration of a run on such days, which was trained and quantized."""
    folder = tmp_path_factory.mktemp(request.param)
    write_days(folder / "days", ROWS, bags=BAGS if request.param == "stored" else None, sizes=SIZES)
    path = write_config(folder, folder / "days")
    contents = yaml.safe_load(path.read_text())
    contents["model"]["bottom_mlp"] = [0, 16, 8]
    contents["data"] |= {"table_sizes": list(SIZES), "multi_hot_sizes": list(BAGS)}
    contents["trainer"]["callbacks"][1]["init_args"]["criterion"] = {"relative": 0.5}
    path.write_text(yaml.safe_dump(contents))
    assert run("fit", "-c", path) in (0, 4)
    return path


def test_all_commands_read_the_days(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.parent
    days, artifact, checkpoint = folder / "days", folder / "artifact", folder / "run" / "model.ckpt"
    for command in ("validate", "test"):
        assert run(command, "-c", config, "--ckpt_path", checkpoint) == 0
    assert run("predict", "-c", config, "--ckpt_path", checkpoint, "--output", tmp_path / "fp32.npy") == 0
    assert len(np.load(tmp_path / "fp32.npy")) == 1000
    assert run("predict", "--artifact", artifact, "--data", days, "--output", tmp_path / "int8.npy") == 0
    assert np.abs(np.load(tmp_path / "fp32.npy") - np.load(tmp_path / "int8.npy")).mean() < 0.005
    capsys.readouterr()
    assert run("verify", "--artifact", artifact, "--data", days, "--ckpt_path", checkpoint) == 0
    assert "all test rows against the checksum in the certificate" in capsys.readouterr().out
    times = ["--batch_sizes", "[64]", "--threads", "[1]", "--seconds", "0.01"]
    assert run("benchmark", "--artifact", artifact, "--data", days, "--output", tmp_path / "times", *times) == 0
    names = {path.name for path in days.iterdir() if not path.name.startswith("day_")}
    assert names <= {"multi_hot_tables"}


def test_kept_columns_stand_beside_the_probabilities(config: Path, tmp_path: Path) -> None:
    folder, output = config.parent, tmp_path / "kept.csv"
    days = folder / "days"
    assert run("predict", "--artifact", folder / "artifact", "--data", days, "--output", output, "--keep", "label") == 0
    assert output.read_text().count("\n") == 1001


def test_a_changed_row_is_not_verified(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.parent
    shutil.copytree(folder / "days", tmp_path / "days")
    path = tmp_path / "days" / "day_2_dense.npy"
    dense = np.load(path)
    dense[1500, 1] += 1
    np.save(path, dense)
    wanted = "are not the certified ones: their checksum is"
    expect_error(capsys, wanted, "verify", "--artifact", folder / "artifact", "--data", tmp_path / "days")


def test_other_days_are_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single, artifact = config.parent.name.startswith("drawn"), config.parent / "artifact"
    write_days(tmp_path / "single", ROWS, sizes=SIZES, seed=5)
    message = "has single ids, but bags of 3, 1, 5 are expected, and there are no lookup tables"
    expect_error(capsys, message, "verify", "--artifact", artifact, "--data", tmp_path / "single")
    write_days(tmp_path / "bags", ROWS, sizes=SIZES, bags=(3, 2, 5), seed=5)
    message = "the bags of table 1 have 2 ids, but 1 is stated"
    expect_error(capsys, message, "verify", "--artifact", artifact, "--data", tmp_path / "bags")
    checkpoint = config.parent / "run" / "model.ckpt"
    contents = yaml.safe_load(config.read_text())
    contents["data"] |= {"folder": str(tmp_path / "single"), "multi_hot_sizes": [1, 1, 1]}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(contents))
    message = "cat_0 has bag=1|cat_0 has bag=3"
    expect_error(capsys, message, "validate", "-c", tmp_path / "other.yaml", "--ckpt_path", checkpoint)
    assert single or not (config.parent / "days" / "multi_hot_tables").exists()


def test_bags_are_drawn_of_own_datasets_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = Columns(
        "y",
        (DenseColumn(name="count"),),
        (SparseColumn(name="code", kind="hex"), SparseColumn(name="user", kind="integer", ids="hash", rows=50)),
    )
    folder = write_dataset(tmp_path / "own", columns, 2000).path
    path = write_config(tmp_path, folder)
    contents = yaml.safe_load(path.read_text())
    contents["model"]["bottom_mlp"] = [0, 16, 8]
    contents["data"]["multi_hot_sizes"] = [4, 9]
    contents["trainer"]["callbacks"][1]["init_args"]["criterion"] = {"relative": 0.5}
    path.write_text(yaml.safe_dump(contents))
    assert run("fit", "-c", path) in (0, 4)
    artifact, checkpoint = tmp_path / "artifact", tmp_path / "run" / "model.ckpt"
    assert run("test", "-c", path, "--ckpt_path", checkpoint) == 0
    assert run("predict", "--artifact", artifact, "--data", folder, "--output", tmp_path / "int8.npy") == 0
    assert len(np.load(tmp_path / "int8.npy")) == 2000
    assert run("verify", "--artifact", artifact, "--data", folder, "--ckpt_path", checkpoint) == 0
    shutil.rmtree(folder / "multi_hot_tables")
    message = "has single ids, but bags of 4, 9 are expected"
    expect_error(capsys, message, "verify", "--artifact", artifact, "--data", folder)


def test_a_plan_needs_the_same_settings(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = ["--plan_hosts", "1", "--plan_processes", "2", "--plan_memory", "4GiB", "--json"]
    assert run("fit", "-c", config, "--plan_only", *hosts) == 0
    plan = json.loads(capsys.readouterr().out)
    assert re.findall(r"'rows': (\d+)", str(plan))[:3] == [str(size) for size in SIZES]
