"""`fit --plan_only` prints the plan of a training for the given tables and hosts, and trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.commands import run
from tests.support.processes.sharded import needs_engine
from tests.support.workloads import GIB, TERABYTE

pytestmark = pytest.mark.filterwarnings("ignore")

INT8 = ("--trainer.strategy", "sharded", "--trainer.strategy.communication", "int8")
HOSTS = ("--plan_hosts", 2, "--plan_processes", 4, "--plan_memory", "64GiB")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _planned(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, object]:
    assert run("fit", "--plan_only", "--json", *args) == 0
    data = json.loads(capsys.readouterr().out)
    assert isinstance(data, dict)
    return data


@needs_engine
def test_tables_that_do_not_exist_are_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _planned(capsys, "--model.embedding_dim", 16, "--plan_table_sizes", list(TERABYTE), *HOSTS)
    assert data["hosts"] == {"count": 2, "processes": 4, "memory_bytes": 64 * GIB}
    assert [table["rows"] for table in data["tables"]] == list(TERABYTE)  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


@needs_engine
def test_a_training_without_validation_needs_less(capsys: pytest.CaptureFixture[str]) -> None:
    tables = ("--plan_table_sizes", [5000, 6000], *HOSTS)
    peaks = [
        _planned(capsys, *tables, "--trainer.limit_val_batches", limit)["ranks"][0]["peak_memory_bytes"]  # type: ignore[index]
        for limit in (1.0, 0)
    ]
    assert peaks[1] < peaks[0]


@needs_engine
def test_a_dataset_is_planned_with_the_strategys_sharding(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strategy = {
        "class_path": "dlrm_pl.distributed.strategy.ShardedStrategy",
        "init_args": {"sharding": {"C3": "column_wise", "1": "row_wise"}, "memory": "8GiB"},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"trainer": {"devices": 2, "strategy": strategy}}))
    data = _planned(capsys, "-c", tmp_path / "a.yaml", "--data.folder", synthetic_folder)
    assert data["hosts"] == {"count": 1, "processes": 2, "memory_bytes": 8 * GIB}
    kinds = {table["name"]: table["sharding"] for table in data["tables"]}  # type: ignore[attr-defined]
    assert (kinds["C3"], kinds["C2"], kinds["C1"]) == ("column_wise", "row_wise", "data_parallel")
    sent_as_fp16 = ("--trainer.strategy.communication", "fp16")
    halved = _planned(capsys, "-c", tmp_path / "a.yaml", "--data.folder", synthetic_folder, *sent_as_fp16)
    assert halved["ranks"][0]["sent_bytes_per_step"] < data["ranks"][0]["sent_bytes_per_step"]  # type: ignore[index]
    assert run("fit", "--plan_only", "-c", tmp_path / "a.yaml", "--data.folder", synthetic_folder) == 0
    assert "plan for 1 host with 2 processes and 8 GiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--plan_only", "--plan_table_sizes", "[10]", "--plan_hosts", 0), "number of hosts is 0, but a plan needs"),
        (("--plan_only", "--plan_table_sizes", "[10]", "--plan_memory", "much"), "plan_memory='much' is not an amount"),
        (("--plan_only",), "A plan needs the number of rows of each table. Give --data.folder"),
        (("--plan_only", "--data.folder", "nowhere"), "nowhere"),
        (("--plan_only", "--plan_table_sizes", "[10, 0]"), r"table_sizes[1]=0 must be a whole number"),
        (("--plan_only", "--plan_table_sizes", "[10]", "--plan_lookups", "[1, 2]"), "lookups has 2 values"),
        (("--data.folder", "x", "--plan_hosts", 3), "--plan_hosts only applies to a plan. Give --plan_only"),
        (("--plan_only", "--plan_table_sizes", "[1000000000]", "--plan_memory", "2GiB"), "What would fit"),
        (
            ("--plan_only", "--plan_table_sizes", "[9]", *HOSTS, *INT8, "--trainer.strategy.sharding", "row_wise"),
            "int8 cannot be used",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(map(str, value)).replace("--", ""),
)
@needs_engine
def test_what_cannot_be_planned_is_one_line(
    capsys: pytest.CaptureFixture[str], args: tuple[object, ...], message: str
) -> None:
    assert run("fit", *args) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
