"""Reads and writes continue after the system cuts them short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlrm_pl.files.complete_io import read_at, read_into, write_all, write_at

CONTENT = bytes(range(256))


@pytest.fixture
def at_most_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system read and write at most seven bytes at a time."""
    write, pwrite, preadv = os.write, os.pwrite, os.preadv
    monkeypatch.setattr(os, "write", lambda file, view: write(file, view[:7]))
    monkeypatch.setattr(os, "pwrite", lambda file, view, offset: pwrite(file, view[:7], offset))
    monkeypatch.setattr(os, "preadv", lambda file, views, offset: preadv(file, [views[0][:7]], offset))


@pytest.mark.usefixtures("at_most_seven")
def test_short_writes_go_on(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w+b", buffering=0) as handle:
        write_all(handle.fileno(), CONTENT)
        write_all(handle.fileno(), memoryview(CONTENT))
        write_at(handle.fileno(), CONTENT[:100], 50)
    assert (tmp_path / "x").read_bytes() == CONTENT[:50] + CONTENT[:100] + CONTENT[150:] + CONTENT


@pytest.mark.usefixtures("at_most_seven")
def test_short_reads_go_on_to_the_end_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    memory = bytearray(250)
    with (tmp_path / "x").open("rb") as handle:
        assert read_at(handle.fileno(), memoryview(memory), 6) == 250
        assert memory == CONTENT[6:]
        assert read_at(handle.fileno(), memoryview(memory), 56) == 200
        assert memory[:200] == CONTENT[56:]


class SlowFile:
    """Returns three bytes at a time."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def readinto(self, buffer: memoryview) -> int:
        part, self._rest = self._rest[: min(3, len(buffer))], self._rest[min(3, len(buffer)) :]
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize(("wanted", "read"), [(100, 100), (300, 256), (0, 0)])
def test_memory_is_filled_by_many_reads(wanted: int, read: int) -> None:
    memory = bytearray(wanted)
    assert read_into(SlowFile(CONTENT), memoryview(memory)) == read
    assert memory[:read] == CONTENT[:read]
