"""Native tables of integers and strings and their fallback number values alike, exactly, and refuse nonsense."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.lookup.fallback import PythonIntegerTable, PythonStringTable
from dlrm_pl.data.lookup.native import NativeIntegerTable, NativeStringTable, library
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.tables import IntegerTable, StringTable, integer_table, string_table
from dlrm_pl.data.lookup.values import MISSING_INTEGER, MISSING_STRING
from dlrm_pl.errors import DataFormatError, ShapeError
from tests.support.examples import examples

Table = IntegerTable | StringTable
Make = Callable[[], Any]
Value = int | bytes

NATIVE = library()
INTEGERS: list[Make] = [PythonIntegerTable, *([lambda: NativeIntegerTable(NATIVE)] if NATIVE else [])]
STRINGS: list[Make] = [PythonStringTable, *([lambda: NativeStringTable(NATIVE)] if NATIVE else [])]
BOTH = INTEGERS + STRINGS

numbers = st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1)
texts = st.sampled_from(["", "a", "b", "é", "日本語", "a\0", "\0"]).map(str.encode) | st.binary(max_size=40)


def values_of(values: Sequence[Value], kind: type) -> Any:
    return Strings.of(list(values)) if kind is bytes else np.array(values, np.int64)  # type: ignore[arg-type]


def plain(values: Any) -> list[Value]:
    return values.to_list() if isinstance(values, Strings) else values.tolist()


def missing_value(kind: type) -> Value:
    return MISSING_STRING if kind is bytes else MISSING_INTEGER


@settings(deadline=None, max_examples=examples(60))
@given(data=st.data(), kind=st.sampled_from([int, bytes]))
def test_values_get_numbers_by_first_appearance_and_their_rows_are_counted(data: st.DataObject, kind: type) -> None:
    value = texts if kind is bytes else numbers
    chunks = data.draw(st.lists(st.lists(st.tuples(value, st.booleans()), max_size=300), max_size=4))
    probes = data.draw(st.lists(value, max_size=20))
    for make in STRINGS if kind is bytes else INTEGERS:
        table, seen = make(), []
        for chunk in chunks:
            rows = [missing_value(kind) if missing else value for value, missing in chunk]
            seen += rows
            known = {value: number for number, value in enumerate(dict.fromkeys(seen))}
            given_values = values_of([value for value, _ in chunk], kind)
            found = table.number(given_values, learn=True, missing=np.array([m for _, m in chunk], np.bool_))
            assert found.dtype == np.int32
            assert found.tolist() == [known[value] for value in rows]
        known = {value: number for number, value in enumerate(dict.fromkeys(seen))}
        values, counts = table.read()
        assert plain(values) == list(known)
        assert counts.tolist() == [seen.count(value) for value in known]
        assert len(table) == len(known)
        first = data.draw(st.integers(0, len(table)))
        assert plain(table.read(first)[0]) == list(known)[first:]
        again = make()
        again.number(values_of([*probes], kind), learn=True)  # Replaced by restore().
        again.restore(values, counts)
        assert again.number(values_of(probes, kind), learn=False).tolist() == [known.get(p, -1) for p in probes]
        assert again.read()[1].tolist() == counts.tolist()  # Only learnt values are counted.


@pytest.mark.parametrize("make", BOTH)
def test_many_values_stay_distinct_when_the_table_grows(make: Make) -> None:
    kind = bytes if make in STRINGS else int
    order = np.random.default_rng(0).permutation(20_000)
    # Differences only in the upper bits, only in the lowest bits, and texts with a common prefix.
    value = [int(number) * (1 << 44) if number % 2 else int(number) for number in order]
    rows: list[Value] = [b"%d" % number * (1 + number % 7) for number in order] if kind is bytes else list(value)
    table = make()
    whole = values_of(rows, kind)
    assert table.number(whole, learn=True).tolist() == list(range(len(rows)))
    assert table.number(whole, learn=False).tolist() == list(range(len(rows)))
    assert plain(table.read()[0]) == rows
    assert table.nbytes > 0


@pytest.mark.parametrize("make", STRINGS)
def test_texts_that_agree_in_most_bytes_are_different(make: Make) -> None:
    rows = [bytes(size) for size in range(40)] + [bytes([0] * place + [1] + [0] * (39 - place)) for place in range(40)]
    assert make().number(Strings.of(rows), learn=True).tolist() == list(range(80))


@pytest.mark.parametrize("make", STRINGS)
def test_texts_may_be_a_part_of_other_arrays(make: Make) -> None:
    whole = Strings.of([b"xx", b"a", b"bc", b"a", b"yy"])
    part = Strings(whole.offsets[1:5], whole.data)
    table = make()
    assert table.number(part, learn=True).tolist() == [0, 1, 0]
    assert table.read()[0].to_list() == [b"a", b"bc"]


@pytest.mark.parametrize("make", BOTH)
def test_a_count_stays_at_its_largest_value(make: Make) -> None:
    kind = bytes if make in STRINGS else int
    value: Value = b"v" if kind is bytes else 3
    table = make()
    table.restore(values_of([value], kind), np.array([2**32 - 2], np.uint32))
    table.number(values_of([value] * 5, kind), learn=True)
    assert table.read()[1].tolist() == [2**32 - 1]


@pytest.mark.parametrize("make", BOTH)
def test_repeated_value_is_refused_by_name(make: Make) -> None:
    kind = bytes if make in STRINGS else int
    rows: list[Value] = [b"one", b"two", b"one"] if kind is bytes else [111, 2, 111]
    table = make()
    with pytest.raises(DataFormatError, match=r"'one'|111"):
        table.restore(values_of(rows, kind), np.ones(3, np.uint32))
    assert (len(table), plain(table.read()[0]), table.read()[1].tolist()) == (0, [], [])


@pytest.mark.parametrize("make", INTEGERS)
def test_wrong_arrays_of_integers_are_refused(make: Make) -> None:
    table = make()
    with pytest.raises(ShapeError, match="values"):
        table.number(np.zeros(3, np.int32), learn=True)
    with pytest.raises(ShapeError, match="missing"):
        table.number(np.zeros(3, np.int64), learn=True, missing=np.zeros(2, np.bool_))
    with pytest.raises(ShapeError, match="counts"):
        table.restore(np.zeros(1, np.int64), np.zeros(2, np.uint32))
    with pytest.raises(ShapeError, match="1 do not fit into 0"):
        table.read(1)


@pytest.mark.parametrize("make", STRINGS)
@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 3, 2], "less than|not decrease"),
        ([-1, 2], "negative|0 and 5"),
        ([0, 6], "beyond|0 and 5"),
        ([], "one more offset"),
    ],
)
def test_texts_outside_their_bytes_are_refused(make: Make, offsets: list[int], message: str) -> None:
    table, texts = make(), Strings(np.array(offsets, np.int64), np.zeros(5, np.uint8))
    with pytest.raises(ShapeError, match=message):
        table.number(texts, learn=True)
    with pytest.raises(ShapeError, match=message):
        table.restore(texts, np.zeros(max(len(offsets) - 1, 0), np.uint32))
    with pytest.raises(ShapeError, match="data"):
        table.number(Strings(np.zeros(1, np.int64), np.zeros(2, np.int8)), learn=True)  # type: ignore[arg-type]


def test_tables_of_different_threads_are_independent() -> None:
    tables = [integer_table(), integer_table(), string_table(), string_table()]
    rows = list(range(3000))

    def run(table: Any) -> None:
        kind = bytes if tables.index(table) > 1 else int
        values = values_of([b"%d" % row for row in rows] if kind is bytes else rows, kind)
        for _ in range(3):
            assert table.number(values, learn=True).tolist() == rows

    threads = [threading.Thread(target=run, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(table) for table in tables] == [3000] * 4
    assert all(table.read()[1].tolist() == [3] * 3000 for table in tables)


def test_fallback_is_used_without_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    assert isinstance(integer_table(), PythonIntegerTable)
    assert isinstance(string_table(), PythonStringTable)
