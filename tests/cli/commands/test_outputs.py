"""Where commands write, and what they never overwrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import expect_error, run, write_config, write_yaml

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_output_that_holds_something_else(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    arguments = ("--ckpt_path", fitted / "run" / "model.ckpt", "--output", tmp_path / "mine")
    expect_error(capsys, "mine: holds files", "quantize", "-c", fitted / "config.yaml", *arguments)
    expect_error(capsys, "mine: holds files", "synthesize", "--output", tmp_path / "mine", "--rows", 100)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


@pytest.mark.untraced
def test_finished_work_is_replaced_only_when_asked(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    """Refused before the work and in the same words, by `fit` both for its checkpoint and for its artifact alone."""
    checkpoint, artifact = fitted / "run" / "model.ckpt", fitted / "artifact"
    before = {path: path.stat().st_mtime_ns for path in (checkpoint, *artifact.iterdir(), *synthetic_folder.iterdir())}
    end = ".*give --overwrite to replace it"
    expect_error(
        capsys,
        r"model\.ckpt: this checkpoint .* would be overwritten.* --overwrite",
        "fit",
        "-c",
        fitted / "config.yaml",
    )
    (tmp_path / "artifact").symlink_to(artifact)
    expect_error(
        capsys,
        f"artifact: holds an artifact, of an earlier run{end}",
        "fit",
        "-c",
        write_config(tmp_path, synthetic_folder),
    )
    quantize = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", checkpoint)
    expect_error(capsys, rf"criterion\.relative changed from 0\.05 to 0\.5{end}", *quantize, "--relative", 0.5)
    synthesize = ("synthesize", "--output", synthetic_folder, "--rows", 100)
    expect_error(capsys, f"holds a dataset, made differently: rows changed from 12000 to 100{end}", *synthesize)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_home_directory_is_found_in_options_and_in_yaml(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run("synthesize", "--output=~/clicks", "--rows", 100) == 0
    assert run("synthesize", "-c", write_yaml(tmp_path, {"output": "~/more", "rows": 100})) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"clicks", "more", "options.yaml"}
    config = write_config(tmp_path, Path("~/none"))
    expect_error(capsys, f"{tmp_path}/none: there is no such dataset folder", "fit", "--config=~/config.yaml")
    assert "~" in config.read_text()
    assert not (tmp_path / "~").exists()


def test_output_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    expect_error(capsys, "cannot be written", "synthesize", "--output", tmp_path / "file" / "data", "--rows", 100)
