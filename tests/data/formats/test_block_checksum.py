"""The checksum does not depend on how the bytes are split, and follows its description."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.block_checksum import BlockChecksum, block_bytes, file_checksum, matches, part_at
from tests.support.examples import examples

BLOCK_BYTES = block_bytes(Columns.criteo())


def described(data: bytes, size: int) -> str:
    digests = [hashlib.sha256(data[start : start + size]).digest() for start in range(0, len(data), size)]
    return hashlib.sha256(b"".join(digests)).hexdigest()


@settings(deadline=None, max_examples=examples(100))
@given(cuts=st.lists(st.integers(0, 200), max_size=8), size=st.integers(0, 200))
def test_parts_of_any_size_give_what_the_whole_gives(cuts: list[int], size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    places = sorted({0, size, *(cut for cut in cuts if cut < size)})
    pieces = list(pairwise(places))
    together, alone = BlockChecksum(32), BlockChecksum(32)
    for part in [part_at(start, memoryview(data)[start:stop], 32) for start, stop in pieces]:
        together.add(part)
    for start, stop in pieces:
        alone.update(memoryview(data)[start:stop])
    assert {together.text(), alone.text()} == {f"sha256/32:{described(data, 32)}"}


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 9 * BLOCK_BYTES, 25 * BLOCK_BYTES + 7])
def test_file_is_read_by_several_threads_to_the_same_end(size: int, tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert file_checksum(path, BLOCK_BYTES).text() == f"sha256/{BLOCK_BYTES}:{described(data, BLOCK_BYTES)}"


def test_any_changed_byte_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * BLOCK_BYTES))
    stated = file_checksum(path, BLOCK_BYTES).text()
    plain = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert matches(path, stated, BLOCK_BYTES)
    assert matches(path, plain, BLOCK_BYTES)
    for place in (0, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES - 1):
        with path.open("r+b") as handle:
            handle.seek(place)
            handle.write(b"x")
        assert not matches(path, stated, BLOCK_BYTES)
        assert not matches(path, plain, BLOCK_BYTES)
        with path.open("r+b") as handle:
            handle.seek(place)
            handle.write(b"\0")
