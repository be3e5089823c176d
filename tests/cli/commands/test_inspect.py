"""`inspect` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.commands import expect_error, run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_inspect_describes_every_table(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same rows in the checkpoint and in the artifact, but for rounding."""
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
