"""Changes of files are noticed at once."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrm_pl.files.changes import Changes


def write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


@pytest.mark.parametrize("change", [write, lambda path: os.truncate(path, 1), lambda path: path.write_bytes(b"other")])
def test_write_and_cut_are_seen_before_anything_else_is_done(tmp_path: Path, change: Callable[[Path], object]) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(b"contents")
    descriptors = [os.open(path, os.O_RDONLY) for path in paths]
    try:
        changes = Changes(descriptors)
        paths[0].read_bytes()
        assert not changes.seen()
        change(paths[1])
        assert changes.seen()
        assert changes.seen()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_file_that_another_one_replaces_has_not_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with (tmp_path / "a").open("rb") as file:
        changes = Changes([file.fileno()])
        (tmp_path / "b").write_bytes(b"new")
        (tmp_path / "b").rename(tmp_path / "a")
        assert not changes.seen()


def test_files_that_cannot_be_watched_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"Bad file descriptor|No such file"):
        Changes([10**6])
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: object())
    with pytest.raises(OSError, match="has no inotify"):
        Changes([])
