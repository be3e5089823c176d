"""Hashes and the ids derived from them follow their definitions, whichever code computes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.lookup.hashing import hash_values, hashed_ids, modulo_ids
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.errors import ShapeError
from tests.support.examples import examples

MASK = 2**64 - 1


def mixed(value: int) -> int:
    """splitmix64's finalizer in Python integers."""
    value &= MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def fnv(text: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


@pytest.fixture(params=["native", "fallback"])
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "fallback":
        monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    else:
        monkeypatch.delenv("DLRM_PL_ISA", raising=False)


@settings(deadline=None, max_examples=examples(60))
@given(
    integers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
    texts=st.lists(st.binary(max_size=30), max_size=20),
)
def test_hashes_are_those_of_the_definition(integers: list[int], texts: list[bytes]) -> None:
    for setting in ("native", "fallback"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DLRM_PL_ISA", setting if setting == "fallback" else "")
            assert hash_values(np.array(integers, np.int64)).tolist() == [mixed(value) for value in integers]
            assert hash_values(Strings.of(texts)).tolist() == [mixed(fnv(text)) for text in texts]


@pytest.mark.usefixtures("isa")
def test_hashes_never_change() -> None:
    """Ids of existing datasets and models depend on them."""
    assert hash_values(np.array([0, 1, -1, 2**40])).tolist() == [mixed(value) for value in (0, 1, -1, 2**40)]
    assert hash_values(np.array([1, -1])).tolist() == [6238072747940578789, 13029008266876403067]
    found = hash_values(Strings.of([b"", b"a", "日本語".encode()])).tolist()
    assert found == [mixed(0xCBF29CE484222325), mixed(0xAF63DC4C8601EC8C), mixed(fnv("日本語".encode()))]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("rows", [2, 3, 1000, 2**31 - 1])
def test_ids_by_hash_leave_0_to_missing_values(rows: int) -> None:
    values = np.arange(-50, 50)
    missing = values % 7 == 0
    expected = [0 if value % 7 == 0 else 1 + mixed(value) % (rows - 1) for value in values.tolist()]
    ids = hashed_ids(values, rows, missing)
    assert ids.dtype == np.int32
    assert ids.tolist() == expected
    texts = [b"%d" % value for value in range(20)]
    assert hashed_ids(Strings.of(texts), rows).tolist() == [1 + mixed(fnv(text)) % (rows - 1) for text in texts]


def test_ids_by_remainder() -> None:
    values = np.array([0, 1, 7, 8, 2**63 - 1, -(2**63)])
    missing = np.array([False, False, False, False, False, True])
    ids = modulo_ids(values, 7, missing)
    assert ids.dtype == np.int32
    assert ids.tolist() == [0, 1, 0, 1, (2**63 - 1) % 7, 0]
    with pytest.raises(ShapeError, match="-3 is negative"):
        modulo_ids(np.array([5, -3]), 7)


def test_other_number_of_missing_values_is_refused() -> None:
    with pytest.raises(ShapeError, match="missing"):
        hashed_ids(np.zeros(3, np.int64), 5, np.zeros(2, np.bool_))
    with pytest.raises(ShapeError, match="missing"):
        modulo_ids(np.zeros(3, np.int64), 5, np.zeros(2, np.bool_))
