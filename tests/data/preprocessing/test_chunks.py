"""Chunks of whole lines, and the memory maps of buckets."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.engine.native import keyed_dtype
from dlrm_pl.data.preprocessing.io import bucket_reader as work_files
from dlrm_pl.data.preprocessing.io.bucket_reader import map_keyed
from dlrm_pl.data.preprocessing.logs.chunks import ChunkReader
from dlrm_pl.data.preprocessing.logs.days import Day
from dlrm_pl.errors import DataFormatError
from tests.support.examples import examples


def texts(reader: ChunkReader, days: int) -> list[bytes]:
    """Concatenate the chunks of each day; each is loaded after the next one was claimed."""
    found, waiting = [b""] * days, []
    while (chunk := reader.claim(buffer := reader.buffer())) is not None:
        waiting.append((chunk, buffer))
    for number, (chunk, buffer) in enumerate(waiting):
        text = buffer[: reader.load(chunk, buffer)].tobytes()
        assert chunk.index == number
        assert text.endswith(b"\n") or not text
        found[chunk.day] += text
    return found


@settings(deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(st.lists(st.binary(max_size=60), max_size=30), min_size=1, max_size=3),
    packed=st.booleans(),
    newline=st.booleans(),
)
def test_chunks_are_the_text_in_whole_lines(
    tmp_path: Path, days: list[list[bytes]], packed: bool, newline: bool
) -> None:
    files, expected = [], []
    for number, lines in enumerate(days):
        text = b"\n".join(line.replace(b"\n", b" ") for line in lines) + b"\n" * newline
        path = tmp_path / f"day_{number}{'.gz' * packed}"
        path.write_bytes(gzip.compress(text, 1) if packed else text)
        files.append(Day(path))
        expected.append(text if not text or text.endswith(b"\n") else text + b"\n")
    assert texts(ChunkReader(files, Columns.criteo(), 160), len(files)) == expected


def test_parts_of_a_file_are_days(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"a\nbb\nccc\n")
    assert texts(ChunkReader([Day(path, 0, 2), Day(path, 2, 5), Day(path, 5)], Columns.criteo(), 64), 3) == [
        b"a\n",
        b"bb\n",
        b"ccc\n",
    ]


def test_a_line_of_more_than_a_chunk_is_no_click(tmp_path: Path) -> None:
    for name in ("day_0", "day_0.gz"):
        path = tmp_path / name
        text = b"a\nb\n" + b"x" * 300_000 + b"\n"
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        with pytest.raises(DataFormatError, match=rf"{name}:3: is longer than 32,000 bytes, .* begins with 'xxx"):
            texts(ChunkReader([Day(path)], Columns.criteo(), 200_000), 1)


def test_a_log_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "day_0"
    path.write_bytes(b"line\n" * 20)
    reader = ChunkReader([Day(path)], Columns.criteo(), 400)
    buffer = reader.buffer()
    chunk = reader.claim(buffer)
    path.write_bytes(b"line\n" * 3)
    assert chunk is not None
    with pytest.raises(DataFormatError, match=r"day_0: was truncated while it was being read, at byte 15\."):
        reader.load(chunk, buffer)


@pytest.mark.parametrize("advice", [None, 9999], ids=["mapped", "older Linux"])
def test_bucket_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, advice: int | None) -> None:
    if advice:
        monkeypatch.setattr(work_files, "_MADV_POPULATE_READ", advice)
    keyed = np.zeros(100, keyed_dtype(40))
    keyed["key"], keyed["record"] = np.arange(100), np.arange(4000).reshape(100, 40)
    path = tmp_path / "bucket_0"
    path.write_bytes(keyed.tobytes())
    assert map_keyed(path, 100, 40).tobytes() == keyed.tobytes()
    assert len(map_keyed(path, 0, 40)) == 0
    with pytest.raises(DataFormatError, match="bucket_0: is truncated"):
        map_keyed(path, 101, 40)
