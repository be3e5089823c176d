"""SHA-256 of blocks equals the standard library's, with the processor's instructions and without them."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.hashing import sha256
from dlrm_pl.kernels.hashing.sha256 import sha256_blocks


def expected(data: bytes, block: int) -> bytes:
    starts = range(0, len(data) // block * block, block)
    return b"".join(hashlib.sha256(data[start : start + block]).digest() for start in starts)


@settings(deadline=None)
@given(block=st.integers(1, 700), blocks=st.integers(0, 7), rest=st.integers(0, 699), seed=st.integers(0, 99))
@example(block=55, blocks=2, rest=0, seed=0)  # The last size that leaves room for the bit and the length.
@example(block=56, blocks=3, rest=55, seed=0)
@example(block=63, blocks=2, rest=0, seed=0)
@example(block=64, blocks=2, rest=0, seed=0)
def test_digests_are_those_of_the_standard_library(block: int, blocks: int, rest: int, seed: int) -> None:
    data = random.Random(seed).randbytes(block * blocks + min(rest, block - 1))
    assert sha256_blocks(data, block) == expected(data, block)
    assert sha256_blocks(memoryview(data)[block:], block) == expected(data[block:], block)


def test_blocks_of_a_dataset_are_hashed() -> None:
    data = random.Random(2).randbytes(3 * 1_310_720 + 17)
    assert sha256_blocks(data, 1_310_720) == expected(data, 1_310_720)


def test_without_the_instructions_the_digests_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random.Random(1).randbytes(1000)
    native = sha256_blocks(data, 99)
    monkeypatch.setattr(sha256, "native", lambda: None)
    assert sha256_blocks(data, 99) == native == expected(data, 99)


def test_a_block_must_not_be_empty() -> None:
    with pytest.raises(ShapeError, match="block_bytes=0 must be at least 1"):
        sha256_blocks(b"abc", 0)
