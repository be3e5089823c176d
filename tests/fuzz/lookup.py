"""Random calls of the value tables and hashes, compared with their fallbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlrm_pl.data.lookup import fallback, native
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.errors import ShapeError
from tests.fuzz.outcome import HUGE, Rng, outcome, vague

LONG = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 64, 300)


def integer_tables(rng: Rng) -> None:
    """Number integers, over several chunks and a restart."""
    span = int(rng.choice([3, 300, 2**62]))
    chunks = [rng.integers(-span, span, int(rng.choice([0, 1, 255, 256, 257, 700]))) for _ in range(rng.integers(1, 5))]
    chunks[-1] = np.append(chunks[-1], rng.choice([*HUGE], 2))
    number_all(rng, chunks, fallback.PythonIntegerTable, lambda: native.NativeIntegerTable(library()))


def string_tables(rng: Rng) -> None:
    """Number strings, over several chunks and a restart, some of them with wrong offsets."""
    chunks = [strings(rng) for _ in range(rng.integers(1, 5))]
    number_all(rng, chunks, fallback.PythonStringTable, lambda: native.NativeStringTable(library()))


def hashes(rng: Rng) -> None:
    """Hash integers and strings."""
    integers = rng.integers(-(2**63), 2**63 - 1, int(rng.integers(0, 50)))
    assert outcome(lambda: native.hash_integers(library(), integers)) == outcome(
        lambda: fallback.hash_integers(integers)
    )
    texts = strings(rng)
    same(lambda: native.hash_strings(library(), texts), lambda: fallback.hash_strings(texts))


TARGETS: tuple[Callable[[Rng], None], ...] = (integer_tables, string_tables, hashes)


def library() -> Any:
    found = native.library()
    assert found is not None, "the native code was not built"
    return found


def number_all(rng: Rng, chunks: list[Any], slow: Callable[[], Any], fast: Callable[[], Any]) -> None:
    """Number chunks of values in both tables, read them, restore a correct or wrong part of them, and find values."""
    missing = [None if rng.random() < 0.5 else rng.random(length(chunk)) < 0.2 for chunk in chunks]
    share, twice, first = rng.random(), rng.random() < 0.2, int(rng.choice([0, 1, *HUGE]))

    def run(make: Callable[[], Any]) -> Any:
        table, found = make(), []
        for chunk, absent in zip(chunks, missing, strict=True):
            found.append(table.number(chunk, learn=True, missing=absent))
        values, counts = table.read()
        found += [*parts(values), counts, len(table), *parts(table.read(int(share * len(table)))[0])]
        kept = int(share * len(table))
        again, few = make(), front(values, kept, twice=twice and kept > 0)
        again.restore(few, np.resize(counts, length(few)).astype(np.uint32))
        found.append(again.number(chunks[0], learn=False, missing=missing[0]))
        found.append(again.number(chunks[-1], learn=True))
        return found

    same(lambda: run(fast), lambda: run(slow))
    table = fast()
    try:
        table.read(first)
        assert first == 0
    except ShapeError:
        assert first != 0


def same(fast: Callable[[], Any], slow: Callable[[], Any]) -> None:
    """Check that both give the same values, or errors of the same kind, whatever their wording."""
    found, expected = outcome(fast), outcome(slow)
    if vague(found) == "an error":
        assert vague(expected) == "an error", (found, expected)
        assert found[0] == expected[0], (found, expected)
    else:
        assert found == expected, f"{str(found)[:300]} / {str(expected)[:300]}"


def strings(rng: Rng) -> Strings:
    """Return strings of few or many bytes, perhaps a part of larger arrays, perhaps with a wrong offset."""
    count, letters = int(rng.choice([0, 1, 20, 256, 400])), int(rng.choice([1, 2, 256]))
    sizes = rng.choice(LONG, count) if rng.random() < 0.3 else rng.integers(0, 4, count)
    start, spare = int(rng.choice([0, 0, 5])), int(rng.choice([0, 0, 9]))
    offsets = np.concatenate([[start], start + np.cumsum(sizes)]).astype(np.int64)
    data = rng.integers(0, letters, int(offsets[-1]) + spare).astype(np.uint8)
    chance = rng.random()
    if chance < 0.1:
        offsets[int(rng.integers(len(offsets)))] = int(rng.choice([*HUGE, len(data), len(data) + 1]))
    elif chance < 0.12:
        offsets = offsets[:0]
    elif chance < 0.14:
        offsets = offsets.astype(np.int32)
    elif chance < 0.16:
        data = np.repeat(data, 2)[::2]
    return Strings(offsets, data)


def length(values: Any) -> int:
    return max(values.num_strings, 0) if isinstance(values, Strings) else len(values)


def parts(values: Any) -> list[Any]:
    return [values.offsets, values.data] if isinstance(values, Strings) else [values]


def front(values: Any, count: int, *, twice: bool) -> Any:
    """Return the first values, perhaps with the first one repeated."""
    if not isinstance(values, Strings):
        return np.append(values[:count], values[:1] if twice else values[:0])
    texts = values.to_list()
    return Strings.of(texts[:count] + (texts[:1] if twice else []))
