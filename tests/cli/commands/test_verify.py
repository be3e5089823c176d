"""`verify` as a user runs it: what it measures again, and what it detects."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.artifacts import change_certificate
from tests.support.commands import expect_error, run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_verify_recomputes_the_certificate(
    fitted: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("verify", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert "certified: AUROC drop" in shown
    assert "not measured again: the fp32 model, the drop and the guards" in shown
    assert run(*arguments, "--ckpt_path", fitted / "run" / "model.ckpt") == 0
    assert "re-measured: AUROC drop" in capsys.readouterr().out


def test_tampered_artifact(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    artifact = Path(shutil.copytree(fitted / "artifact", tmp_path / "artifact"))
    weights = bytearray((artifact / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (artifact / "model.safetensors").write_bytes(weights)
    for command in ("verify", "predict"):
        message = r"model\.safetensors: checksum mismatch with manifest"
        expect_error(capsys, message, command, "--artifact", artifact, "--data", synthetic_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["int8"].update(auroc=c["int8"]["auroc"] + 0.01),
            r"contradicts itself: auroc_drop \S+, but fp32\.auroc - int8\.auroc is",
        ),
        (
            lambda c: c["int8_ops"].update({"int8_linear": 5}),
            r"One forward pass ran the integer ops .*int8_linear': 4.*, but .*int8_linear': 5.* were certified",
        ),
        (lambda c: c.update(rows=1999), "contradicts itself: rows 1999, but row_ranges.certification has 2000"),
    ],
)
def test_certificate_that_claims_too_much(
    capsys: pytest.CaptureFixture[str],
    fitted: Path,
    synthetic_folder: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    artifact = Path(shutil.copytree(fitted / "artifact", tmp_path / "artifact"))
    change_certificate(artifact, change)
    expect_error(capsys, message, "verify", "--artifact", artifact, "--data", synthetic_folder)


def test_checkpoint_that_the_artifact_was_not_made_from(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(fitted / "run" / "model.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.top_mlp.0.bias"] += 1e-3
    torch.save(checkpoint, tmp_path / "other.ckpt")
    arguments = ("verify", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    message = r"other\.ckpt: its fingerprint is \w{16}, but the artifact was made from \w{16}"
    expect_error(capsys, message, *arguments, "--ckpt_path", tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("batch_size", 0, "batch_size=0 must"), ("tolerance", -1, "tolerance=-1.0 must be a non")],
)
def test_verify_with_numbers_out_of_range(
    capsys: pytest.CaptureFixture[str],
    fitted: Path,
    synthetic_folder: Path,
    option: str,
    value: int,
    message: str,
) -> None:
    arguments = ("verify", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    expect_error(capsys, message, *arguments, f"--{option}", value)
