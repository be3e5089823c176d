"""Commands given a file that is not one of our checkpoints end with status 2 and one message."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.commands import expect_error

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.untraced
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_checkpoint_that_is_none(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    expect_error(capsys, r"bad\.ckpt: ", "quantize", "-c", fitted / "config.yaml", "--ckpt_path", path)


def test_checkpoint_of_another_program(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:

    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
    expect_error(capsys, r"other\.ckpt", "test", "-c", fitted / "config.yaml", "--ckpt_path", path)


def test_hostile_checkpoint_is_not_run(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:

    path, trace = tmp_path / "hostile.ckpt", tmp_path / "it-ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (eval, (f"open({str(trace)!r}, 'w')",))

    torch.save({"state_dict": Hostile()}, path)
    expect_error(capsys, r"hostile\.ckpt", "quantize", "-c", fitted / "config.yaml", "--ckpt_path", path)
    assert not trace.exists()


def test_missing_checkpoint(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    path = tmp_path / "no.ckpt"
    expect_error(capsys, r"no\.ckpt: does not exist", "test", "-c", fitted / "config.yaml", "--ckpt_path", path)
    expect_error(capsys, "needs a trained model. Give --ckpt_path", "quantize", "-c", fitted / "config.yaml")


def test_file_that_may_not_be_read(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not through its mode: tests may run as root, who can read everything.
    real = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("model.ckpt"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    expect_error(capsys, r"model\.ckpt: permission denied", "test", "-c", fitted / "config.yaml", *checkpoint)
