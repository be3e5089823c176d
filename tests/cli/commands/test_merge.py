"""`merge-checkpoint`, and other commands on a sharded checkpoint, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.commands import expect_error, run, write_config
from tests.support.processes.sharded_folders import same_contents, write_sharded

# Lightning warns about the number of its workers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def folder(fitted: Path, tmp_path: Path) -> Path:
    return write_sharded(fitted / "run" / "model.ckpt", tmp_path / "step=9.ckpt")


def test_merge_writes_the_file_of_one_process(
    fitted: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "merged.ckpt"
    assert run("merge-checkpoint", folder, "--output", output) == 0
    assert f"checkpoint           {output}" in capsys.readouterr().out
    merged, saved = (torch.load(path, weights_only=True) for path in (output, fitted / "run" / "model.ckpt"))
    assert same_contents(merged, saved)
    expect_error(capsys, "already exists. Give --overwrite", "merge-checkpoint", folder, "--output", output)
    assert run("merge-checkpoint", folder, "--output", output, "--overwrite") == 0


def test_merge_says_what_it_needs(fitted: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expect_error(capsys, r"needs an output file. Give --output FILE\.ckpt", "merge-checkpoint", folder)
    checkpoint = fitted / "run" / "model.ckpt"
    expect_error(
        capsys, "is already a single file", "merge-checkpoint", checkpoint, "--output", folder.parent / "m.ckpt"
    )
    (folder / "complete.json").unlink()
    expect_error(capsys, "is not a whole checkpoint", "merge-checkpoint", folder, "--output", folder.parent / "m.ckpt")


def test_folder_predicts_as_the_file(fitted: Path, folder: Path, tmp_path: Path) -> None:
    written = []
    for number, path in enumerate((folder, fitted / "run" / "model.ckpt")):
        output = tmp_path / f"{number}.npy"
        assert run("predict", "-c", fitted / "config.yaml", "--ckpt_path", path, "--output", output) == 0
        written.append(np.load(output))
    assert len(written[0]) > 1000
    assert (written[0] == written[1]).all()


def test_training_goes_on_from_a_folder(fitted: Path, folder: Path, tmp_path: Path, synthetic_folder: Path) -> None:
    """In a single process, without TorchRec."""
    trained = []
    for number, path in enumerate((folder, fitted / "run" / "model.ckpt")):
        place = tmp_path / f"again-{number}"
        place.mkdir()
        config = write_config(place, synthetic_folder)
        assert run("fit", "-c", config, "--ckpt_path", path, "--trainer.max_epochs", "2") == 0
        trained.append(torch.load(place / "run" / "model.ckpt", weights_only=True))
    assert trained[0]["epoch"] == 1
    assert same_contents(trained[0]["state_dict"], trained[1]["state_dict"])
