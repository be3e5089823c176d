"""The scripts in examples/ do what they say."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import dlrm_pl
from tests.docs.pages import ROOT
from tests.docs.running import run_command
from tests.support.logs.click_tables import SHOP, shop_table, write_parquet
from tests.support.logs.own_columns import write_columns

pytestmark = [pytest.mark.untraced, pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_every_example_is_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")):
        assert f"]({path.name})" in listed
        assert path.name in Path(__file__).read_text()


def test_a_log_of_ones_own_ends_in_an_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = [
        "synthesize",
        "--format",
        "raw",
        "--output",
        "logs",
        "--days",
        "3",
        "--rows",
        "9000",
        "--max_table_size",
        "300",
    ]
    assert run_command(made)[0] == 0
    run("train_own_log.py", "--raw", "logs/day", "--output", "runs/own", patch=monkeypatch)
    outcome = capsys.readouterr().out.splitlines()[-1].partition(":")[0]
    assert dlrm_pl.load_artifact("runs/own/artifact").certificate.outcome == outcome


def test_a_log_of_other_columns_ends_in_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_parquet([shop_table(1000, day, day) for day in (1, 2, 3)], tmp_path / "clicks")
    columns = str(write_columns(SHOP, tmp_path / "shop.yaml"))
    run("train_own_log.py", "--raw", "clicks", "--columns", columns, "--output", "runs/own", patch=monkeypatch)
    data = dlrm_pl.DLRMDataModule("runs/own/dataset")
    settings = dlrm_pl.TuningSettings(criterion=dlrm_pl.Criterion(relative=0.1))
    model = dlrm_pl.load_checkpoint("runs/own/model.ckpt")
    dlrm_pl.quantize(model, data, "artifacts/shop", settings=settings, with_vocabulary=True)

    rows = "clicks/part-002.parquet"
    run(
        "score_frame.py",
        *("--artifact", "artifacts/shop", "--rows", rows, "--output", "scored.parquet"),
        patch=monkeypatch,
    )
    scored = pyarrow.parquet.read_table("scored.parquet")["probability"].to_numpy()
    last_bit = 4 * np.finfo(np.float32).eps
    wanted = dlrm_pl.load_artifact("artifacts/shop").predict(data.test_dataloader())
    np.testing.assert_allclose(scored[: len(wanted)], wanted, rtol=last_bit)


def test_a_model_is_quantized_by_a_metric_of_ones_own(
    quickstart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--ckpt_path",
        "runs/quickstart/model.ckpt",
        "--data",
        "datasets/quickstart",
        "--output",
        "artifacts/mine",
    ]
    run("quantize_with_metric.py", *options, "--relative", "0.1", patch=monkeypatch)
    assert "without a confidence bound" in capsys.readouterr().out
    assert dlrm_pl.load_artifact("artifacts/mine").certificate.score == "RecallOfTopTenth"


def test_the_cells_of_the_notebook_run_in_order(quickstart: Path) -> None:
    notebook = json.loads((EXAMPLES / "score_rows.ipynb").read_text())
    names: dict[str, Any] = {}
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, source in enumerate(sources):
        exec(compile(source, f"score_rows.ipynb, code cell {number}", "exec"), names)
    assert names["auroc"] > 0.6
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
