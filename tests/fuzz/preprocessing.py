"""Random calls of preprocessing's native functions and their NumPy fallback: log lines, tables, buckets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, get_args

import numpy as np

from dlrm_pl.data.preprocessing.engine.library import library
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS, TEXT_PADDING, NativeEngine, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, NumPyEngine
from dlrm_pl.data.raw_logs.line import Label
from dlrm_pl.errors import ShapeError
from tests.fuzz.outcome import HUGE, Rng, outcome

# fmt: off
PIECES = (b"", b"\t", b"\r", b"\r\n", b"\0", b"-", b"-0", b"+1", b"2147483648", b"-2147483649", b"9" * 30, b"0" * 40,
          b"7" * 5000, b"ffffffff", b"123456789", b"g", b"\xff", b" ", b"1.5", b"0x1f", b"\n", b"2", b"\x85", b"\x0b")
# fmt: on
LABELS: tuple[Label, ...] = get_args(Label)


def parsing(rng: Rng) -> None:
    """Parse valid lines, and lines with replaced pieces, from logs with different columns."""
    dense, sparse = shape(rng)
    fields = 1 + dense + sparse
    text = b"".join(
        mutated(rng, log_line(rng, dense, sparse)) + rng.choice([b"\n", b"\r\n"])
        for _ in range(int(rng.integers(0, 12)))
    )
    whole = not text or rng.random() < 0.95
    text = text if whole else text[:-1] + b"1"
    buffer = np.frombuffer(text + rng.bytes(TEXT_PADDING), np.uint8).copy()
    modulus = int(rng.choice([0, 1, 7, 40_000_000, 2**31, 2**32 - 1]))
    label, keep = LABELS[int(rng.integers(0, 3))], bool(rng.random() < 0.3)
    room, bad_room = int(rng.choice([1, 3, 64])), int(rng.choice([0, 1, 64]))

    def parse(engine: Engine) -> Any:
        columns, bad = np.zeros((fields, room), np.int32), np.zeros((2, bad_room), np.int64)
        missing, histogram = np.zeros(fields, np.int64), np.zeros((dense, DENSE_BINS), np.int64)
        largest = np.zeros(dense, np.int64)
        arrays = columns, missing, histogram, largest, bad
        counts = engine.parse(buffer, len(text), modulus, *arrays, label, keep_negatives=keep)
        return counts, columns, missing, histogram, largest, bad

    native = outcome(lambda: parse(engines()[1]))
    if isinstance(native[0], str):
        # The fallback has no memory to overrun, and accepts a text without an end.
        assert native[0] == ShapeError.__name__, native
        assert not whole or text.count(b"\n") > room, native
    else:
        assert native == outcome(lambda: parse(engines()[0])), text


def tables(rng: Rng) -> None:
    """Number values by first appearance, over several chunks and a restart."""
    span = int(rng.choice([3, 300, 2**32]))
    count = int(rng.integers(1, 4))
    chunks = [
        rng.integers(0, span, (count, int(rng.integers(0, 700))), dtype=np.uint32) for _ in range(rng.integers(1, 6))
    ]
    probes = rng.integers(0, span, (count, 50), dtype=np.uint32)
    twice, first = rng.random() < 0.2, int(rng.choice([0, 1, *HUGE]))

    def number(engine: Engine) -> Any:
        made = [engine.table() for _ in range(count)]
        pipeline, found = engine.pipeline(made), []
        for place, chunk in enumerate(chunks):
            columns = chunk.copy().view(np.int32)
            pipeline.number(place, columns, columns.shape[1], learn=True)
            found.append(columns)
        values, counts = made[0].read()
        found += [values, counts, len(made[-1])]
        if twice and len(values):
            values, counts = np.append(values, values[:1]), np.append(counts, counts[:1])
        made[0].restore(values, counts)
        columns = probes.copy().view(np.int32)
        engine.pipeline(made).number(0, columns, 50, learn=False)
        return [*found, columns]

    same(number)
    table = engines()[1].table()
    try:
        table.read(first)
        assert first == 0
    except ShapeError:
        assert first != 0


def buckets(rng: Rng) -> None:
    """Turn columns into records, in order and scattered, and sort, take and remap these."""
    room, seed, first = int(rng.integers(1, 400)), int(rng.integers(2**63)), int(rng.choice([0, 1, 2**40, 2**62]))
    rows, count = int(rng.integers(0, room + 1)), int(rng.choice([1, 2, 7, 1000]))
    fields = int(rng.choice([40, 1, 2, 3, 4, 5, 15, 16, 17, 31, 130]))
    columns = rng.integers(0, 100, (fields, room), dtype=np.int32)
    mapping, field = rng.permutation(100).astype(np.int32), int(rng.integers(fields))
    stray = int(rng.choice([*HUGE[:2], 2**31 - 1, 100])) if rng.random() < 0.2 else None
    order_stray = int(rng.choice([rows, 2**31, 2**32 - 1])) if rng.random() < 0.2 else None
    wrong_room = rng.random() < 0.1

    def scatter(engine: Engine) -> Any:
        keyed, plain = np.zeros(room, keyed_dtype(fields)), np.zeros((rows, fields), np.int32)
        sizes = engine.scatter(columns, rows, seed, first, count, keyed)
        order = engine.order(keyed[:rows])
        engine.records(columns, rows, plain)
        if rows and order_stray is not None:
            order[int(rows // 2)] = order_stray
        records = np.zeros((rows, fields), np.int32)
        clicks = engine.take(keyed[:rows], order, records)
        if rows and stray is not None:
            records[rows // 3, field] = stray
        engine.remap(records, field, mapping)
        return sizes, keyed.view(np.uint8), plain, records, clicks

    same(scatter)
    if wrong_room:
        for wrong in (room + 1, -1):
            try:
                engines()[1].scatter(columns, wrong, seed, first, count, np.zeros(room + 1, keyed_dtype(fields)))
                raise AssertionError(f"{wrong} rows of {room} were scattered")
            except ShapeError:
                pass


TARGETS: tuple[Callable[[Rng], None], ...] = (parsing, tables, buckets)


@cache
def engines() -> tuple[Engine, Engine]:
    native = library()
    assert native is not None
    return NumPyEngine(), NativeEngine(native)


def same(call: Callable[[Engine], Any]) -> None:
    fallback, native = (outcome(lambda engine=engine: call(engine)) for engine in engines())
    if isinstance(native, tuple) and native[0] == ShapeError.__name__:
        assert isinstance(fallback, tuple), fallback
        assert fallback[0] == native[0], (fallback, native)  # Each words it differently.
    else:
        assert fallback == native, f"{str(native)[:300]} / {str(fallback)[:300]}"


def shape(rng: Rng) -> tuple[int, int]:
    """Return the numbers of dense and sparse columns."""
    shapes = ((13, 26), (1, 1), (1, 2), (1, 3), (3, 4), (40, 90))
    return shapes[int(rng.integers(len(shapes)))]


def log_line(rng: Rng, num_dense: int, num_sparse: int) -> bytes:
    dense = [b"" if rng.random() < 0.1 else b"%d" % rng.integers(-3, 2**31) for _ in range(num_dense)]
    sparse = [b"" if rng.random() < 0.1 else b"%08x" % rng.integers(2**32) for _ in range(num_sparse)]
    return b"\t".join([rng.choice([b"0", b"1"]), *dense, *sparse])


def mutated(rng: Rng, line: bytes) -> bytes:
    """Replace a piece of a text by bytes that are special to a parser, or by random bytes."""
    while rng.random() < 0.4:
        start = int(rng.integers(0, len(line) + 1))
        stop = start + int(rng.choice([0, 1, 2, 9, 300]))
        piece = PIECES[rng.integers(len(PIECES))] if rng.random() < 0.8 else rng.bytes(int(rng.integers(1, 9)))
        line = line[:start] + piece + line[stop:]
    return line
