"""Preprocessing on a disk that is too small or becomes full."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.data.preprocessing import log_run as module
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
from dlrm_pl.data.preprocessing.engine.numpy_engine import engine
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import OutputError
from tests.support.logs.raw_logs import MANY, contents


def test_too_little_disk_stops_before_the_first_byte(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OutputError, match=r"of output, need [\d.]+ MiB, but the disk has 1 MiB free.*--subsample_rate"):
        preprocess(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert "plan: 4 days, about 6,9" in caplog.text


def test_full_disk_in_the_middle_keeps_the_last_checkpoint(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, used = itertools.count(), engine()
    real = used.append

    def full(*arguments: Any) -> None:
        if next(writes) == 15:
            raise OSError(28, "No space left on device")
        real(*arguments)

    with (
        monkeypatch.context() as patch,
        pytest.raises(OutputError, match=r"out: the disk is full\. .* keeps .*; run the same command to resume"),
    ):
        patch.setattr(used, "append", full)
        preprocess(raw, tmp_path / "out", MANY)
    assert CheckpointFolder(tmp_path / "out").load() is not None
    report = preprocess(raw, tmp_path / "out", MANY)
    assert contents(tmp_path / "out") == expected
    assert "rows/s" not in str(report), "of all rows, but in the time of a part"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("not allowed to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("room", [100_000, 500_000, 1_000_000])
def test_a_disk_that_is_really_full(
    raw: Path, expected: dict[str, bytes], small_disk: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(module, "require_disk", lambda *sizes: None)  # Fill the disk after it was checked.
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    with pytest.raises(OutputError, match=r"out: the disk is full\."):
        preprocess(raw, small_disk / "out", MANY)
    assert not (small_disk / "out").exists()
    filler.unlink()
    preprocess(raw, small_disk / "out", MANY)
    assert contents(small_disk / "out") == expected
    assert [path.name for path in small_disk.iterdir()] == ["out"]
