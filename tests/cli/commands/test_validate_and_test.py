"""`validate` and `test` as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.commands import run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.untraced
@pytest.mark.parametrize("command", ["validate", "test"])
def test_lightning_commands_run_on_a_checkpoint(fitted: Path, command: str) -> None:
    assert run(command, "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt") == 0


def test_hyperparameters_of_the_checkpoint_win_over_files_and_flags(fitted: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["model"] = {"embedding_dim": 4, "bottom_mlp": [13, 4], "top_mlp": [1]}
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(config))
    status = run("test", "-c", other, "--ckpt_path", fitted / "run" / "model.ckpt", "--model.embedding_dim", 2)
    assert status == 0
