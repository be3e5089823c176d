"""`inspect` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.commands import expect_error, run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_inspect_describes_every_table(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The checkpoint and the artifact have the same rows, except for rounding."""
    tables = []
    for path, dtype, row_bytes in ((fitted / "run" / "model.ckpt", "float32", 32), (fitted / "artifact", "int8", 12)):
        assert run("inspect", path) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        first = next(i for i, line in enumerate(lines) if line[:2] == ["table", "rows"]) + 1
        found = [
            [float(cell.replace(",", "")) for cell in (*line[:3], *line[4:-1])] for line in lines[first : first + 26]
        ]
        assert [line[-1] for line in lines[first : first + 26]] == [f"C{number}" for number in range(1, 27)]
        assert {line[3] for line in lines[first : first + 26]} == {dtype}
        assert [line[0] for line in found] == list(range(26))
        assert all(line[3] == line[1] * row_bytes for line in found)
        tables.append(np.array(found)[:, [1, 4, 5, 6, 7]])
    np.testing.assert_allclose(tables[0], tables[1], rtol=0.02)
    weights = torch.load(fitted / "run" / "model.ckpt", weights_only=True)["state_dict"]
    norms = [weights[f"model.embedding_bags.tables.{table}.weight"].norm(dim=1) for table in range(26)]
    np.testing.assert_allclose(tables[0][:, 2], [norm.max() for norm in norms], rtol=1e-3)


def test_nothing_to_inspect(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    expect_error(capsys, "does not exist", "inspect", tmp_path / "nothing")
    expect_error(capsys, "neither a dataset, a checkpoint nor an artifact", "inspect", tmp_path)


def test_plots_of_a_dataset_a_checkpoint_and_an_artifact(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: None
) -> None:
    for number, path in enumerate((synthetic_folder, fitted / "run" / "model.ckpt", fitted / "artifact")):
        plot = tmp_path / f"{number}.html"
        assert run("inspect", path, "--plot", plot, "--json") == 0
        assert json.loads(capsys.readouterr().out)["plot"] == str(plot)
        assert "<svg" in plot.read_text()
    of_checkpoint = (tmp_path / "1.html").read_text()
    assert '<th scope="row">C26</th>' in of_checkpoint
    assert "table 0" not in of_checkpoint
    assert run("inspect", synthetic_folder, "--plot", tmp_path / "a.png") == 0
    assert capsys.readouterr().out.endswith(f"plot: {tmp_path / 'a.png'}\n")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_plot_without_a_name_is_a_page_beside_the_dataset(
    dataset_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = dataset_copy.parent / "dataset.html"
    assert run("inspect", dataset_copy, "--plot") == 0
    first = page.read_text()
    expect_error(capsys, r"dataset\.html: already exists\. Give --overwrite", "inspect", dataset_copy, "--plot")
    assert run("inspect", dataset_copy, "--plot", "--overwrite") == 0
    assert page.read_text() == first


def test_bad_name_of_a_plot_is_refused_before_any_work(
    synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("dlrm_pl.inspection.inspect_path", fail)
    expect_error(capsys, r"a\.svg: a plot is a page", "inspect", synthetic_folder, "--plot", tmp_path / "a.svg")
    inside = synthetic_folder / "a.png"
    expect_error(capsys, "is inside", "inspect", synthetic_folder, "--plot", inside)
    assert not inside.exists()


def test_plot_of_a_checkpoint_without_curves_writes_nothing(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = torch.load(fitted / "run" / "model.ckpt", weights_only=True)
    saved["callbacks"] = {}
    torch.save(saved, tmp_path / "a.ckpt")
    expect_error(capsys, "has no curves to draw", "inspect", tmp_path / "a.ckpt", "--plot", tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.untraced
def test_inspect_without_a_plot_imports_neither_torch_nor_what_draws(synthetic_folder: Path) -> None:
    program = (
        "import sys; from dlrm_pl.cli.main import main; assert main(sys.argv[1:]) == 0; "
        "found = {'torch', 'matplotlib', 'jinja2', 'dlrm_pl.plots'} & set(sys.modules); assert not found, found"
    )
    command = [sys.executable, "-c", program, "inspect", str(synthetic_folder)]
    subprocess.run(command, check=True, timeout=250, stdout=subprocess.DEVNULL)
