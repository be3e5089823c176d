"""Every variant and the fallback compute the block digests of BLAKE3's reference implementation."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.hashing import blocks
from dlrm_pl.kernels.hashing.blocks import Bytes, block_digests, rows_of_block
from dlrm_pl.kernels.hashing.library import native


def reference(data: Bytes, block_bytes: int) -> list[bytes]:
    starts = range(0, len(data), block_bytes)
    return [blake3(data[start : start + block_bytes].tobytes()).digest()[:16] for start in starts]


def variants() -> list[int | None]:
    library = native()
    return [None] if library is None else [None, *range(library.dlrm_hashing_variants() + 1)]


@given(size=st.integers(0, 70_000), block=st.integers(1, 9000), seed=st.integers(0, 99))
@example(size=16 * 8192 * 2 + 8192 * 3 + 4, block=8192, seed=0)
@example(size=17 * 1024, block=1024, seed=0)
@example(size=3 * 1025 + 63, block=1025, seed=0)
@example(size=70_000, block=30_000, seed=0)
def test_digests_are_those_of_the_reference(size: int, block: int, seed: int) -> None:
    block = max(block, size // 200 + 1)  # The reference takes a microsecond for each.
    data = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    expected = reference(data, block)
    for variant in variants():
        digests, crc32 = block_digests(data, block, 7, variant=variant)
        assert [bytes(digest) for digest in digests] == expected
        assert crc32 == zlib.crc32(data, 7)


@pytest.mark.parametrize(("size", "block"), [(0, 5), (1, 1), (64, 64), (100, 33), (5000, 2049), (40_000, 8192)])
def test_the_fallback_gives_the_same(size: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "native", lambda: None)
    data = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    digests, crc32 = block_digests(data, block)
    assert [bytes(digest) for digest in digests] == reference(data, block)
    assert crc32 == zlib.crc32(data)


def test_a_block_has_whole_rows() -> None:
    assert [rows_of_block(size) for size in (1, 4, 512, 400, 8192, 8193, 100_000)] == [8192, 2048, 16, 20, 1, 1, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda data: block_digests(data, 0, variant=0),
        lambda data: block_digests(data, 16, variant=9),
        lambda data: block_digests(data[::2], 16),
        lambda data: block_digests(data.astype(np.int8), 16),
    ],
)
def test_nonsense_is_refused(call: object) -> None:
    with pytest.raises(ShapeError):
        call(np.zeros(64, np.uint8))  # type: ignore[operator]
