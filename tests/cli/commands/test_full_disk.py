"""Commands on a full disk end with status 2 and one message, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from tests.support.commands import expect_error, run

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_full_disk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import errno

    from dlrm_pl.data.synthetic import synthesize as synthetic

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "train.bin")

    monkeypatch.setattr(synthetic, "describe", full)
    expect_error(capsys, r"disk is full: train\.bin", "synthesize", "--output", tmp_path / "data", "--rows", 100)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_under_a_file_is_told_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import errno

    from dlrm_pl.files import atomic

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "sync_path", full)
        expect_error(capsys, r"disk is full: .*/data\.", "synthesize", "--output", tmp_path / "data", "--rows", 100)
    assert list(tmp_path.iterdir()) == []


def test_limit_of_the_size_of_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Modules that are imported here would be cached cut short.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        expect_error(capsys, r"too large: .*/c/.*\(ulimit -f\)", "configs", "copy", "--output", tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_names_that_the_system_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    expect_error(capsys, r"cannot read or write: .*aaa.* \(File name too long\)", "inspect", tmp_path / ("a" * 300))


def test_full_disk_under_an_artifact(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fitted: Path, tmp_path: Path
) -> None:
    from dlrm_pl.files import tensor_file

    def full(tensors: object, path: Path, **kwargs: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_file, "save_file", full)
    arguments = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    expect_error(capsys, r"disk is full: .*safetensors", *arguments, "--output", tmp_path / "a")
    # Nothing but the log of the trials, from which the next run continues.
    assert [path.name for path in tmp_path.iterdir()] == [".a.trials.jsonl"]
    monkeypatch.undo()
    assert run(*arguments, "--output", tmp_path / "a") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_full_disk_under_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fitted: Path, tmp_path: Path
) -> None:
    from dlrm_pl.quantization.ptq import table_packer as tables

    real, calls = tables.write_table, []

    def full(path: Path, *arguments: Any) -> str:
        calls.append(path)
        checksum = real(path, *arguments)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return checksum

    monkeypatch.setattr(tables, "write_table", full)
    arguments = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    expect_error(capsys, r"disk is full: .*table-02-int8", *arguments, "--output", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
