"""The scripts and notebooks in examples/ do what they say."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
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
from tests.support.processes.forked import Forked, forked_command

pytestmark = [pytest.mark.untraced, pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


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


def run_notebook(name: str) -> dict[str, Any]:
    """Run the code of a notebook in order; returns its variables."""
    names: dict[str, Any] = {}
    for number, source in enumerate(sources(name, "code")):
        exec(compile(source, f"{name}, code cell {number}", "exec"), names)
    return names


def sources(name: str, kind: str) -> list[str]:
    notebook = json.loads((EXAMPLES / name).read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    """Outputs would differ between machines, and the numbers are checked where the cells run."""
    notebook = json.loads((EXAMPLES / name).read_text())
    assert notebook["nbformat"] == 4
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_name_files_that_are_there(name: str) -> None:
    """Without links, which would lead elsewhere on the site, where notebooks are shown as text."""
    for text in sources(name, "markdown"):
        assert "](" not in text
        for target in re.findall(r"`((?:docs/)?[\w-]+\.(?:ipynb|md))`", text):
            assert (EXAMPLES / target).exists() or (ROOT / target).exists(), target
    for text in sources(name, "code"):
        assert not re.search(r"[\"'](/|~)\w", text), "a path of one machine"


def test_rows_of_all_kinds_are_scored(quickstart: Path) -> None:
    assert run_notebook("score_rows.ipynb")["auroc"] > 0.6


def test_the_quick_start_in_python_ends_in_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_notebook("quick_start.ipynb")
    assert names["outcome"].certificate.int8["auroc"] > 0.7
    assert names["outcome"].certificate.outcome == "accepted"
    assert len(names["probabilities"]) == 5


@pytest.mark.slow
def test_parquet_files_end_in_answers_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is a fork of a process that has imported torch, rather than a new program."""
    started: list[Forked] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        if command[0] != "dlrm-pl":
            return popen(command, **options)
        started.append(forked_command(*command[1:]))
        return started[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", start)
    try:
        names = run_notebook("own_data.ipynb")
    finally:
        for server in started:
            server.kill()
    assert [server.returncode for server in started] == [0]
    assert names["outcome"].certificate.outcome == "accepted"
    assert len(names["answered"]) == 2


def test_a_certificate_is_explained_and_verified(quickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_notebook("read_certificate.ipynb")
    assert names["verification"].measured_drop
    assert names["verification"].certificate.auroc_drop == names["certificate"].auroc_drop
    printed = capsys.readouterr().out
    assert f"at most {names['bound']:.4%} with 95% confidence" in printed
    assert "log loss: " in printed
    lines = [line.get_label() for line in names["axes"].get_lines()]
    assert {"interval of the drop", "upper bound, which decides", "tolerance"} <= set(lines)
