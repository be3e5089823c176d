"""The native functions and their NumPy fallbacks give the same bytes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.preprocessing import engine as engine_folder
from dlrm_pl.data.preprocessing.engine.library import library
from dlrm_pl.data.preprocessing.engine.native import (
    DENSE_BINS,
    TEXT_PADDING,
    Matrix,
    NativeEngine,
    keyed_dtype,
)
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, NumPyEngine, row_keys
from dlrm_pl.data.preprocessing.threads import StoppedError
from dlrm_pl.kernels.library import load
from tests.support.examples import examples
from tests.support.logs.raw_logs import GOOD, line

native_library = library()
needs_native = pytest.mark.skipif(native_library is None, reason="the native code was not built")
ENGINES: list[Engine] = [NumPyEngine()] + ([NativeEngine(native_library)] if native_library else [])


def parse(
    engine: Engine, text: bytes, modulus: int, capacity: int = 64, *, keep_negatives: bool = False
) -> list[object]:
    buffer = np.frombuffer(text + bytes(TEXT_PADDING), np.uint8).copy()
    columns = np.zeros((40, capacity), np.int32)
    missing, histogram, largest = np.zeros(40, np.int64), np.zeros((13, DENSE_BINS), np.int64), np.zeros(13, np.int64)
    bad = np.zeros((2, 8), np.int64)
    arrays = columns, missing, histogram, largest, bad
    rows, lines, bads = engine.parse(buffer, len(text), modulus, *arrays, keep_negatives=keep_negatives)
    assert largest.tolist() == columns[1:14, :rows].max(axis=1, initial=0).tolist()
    return [rows, lines, bads, columns[:, :rows].tolist(), missing.tolist(), histogram.tolist(), bad[:, :bads].tolist()]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Replace a piece of a line by bytes that are special to a parser."""
    text = draw(line)
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, min(len(text), start + 9)))
    piece = draw(st.one_of(st.text("0123456789abfgABFG-+. _x\t\r", max_size=12).map(str.encode), st.binary(max_size=4)))
    return (text[:start] + piece + text[stop:]).replace(b"\n", b"")


@needs_native
@settings(deadline=None, max_examples=examples(50))
@given(
    lines=st.lists(st.one_of(line, damaged(), st.just(b"")), max_size=6),
    newlines=st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=6, max_size=6),
    modulus=st.sampled_from([0, 1, 7, 40_000_000, 2**31]),
    keep=st.booleans(),
)
def test_parsers_agree_on_good_and_bad_lines(
    lines: list[bytes], newlines: list[bytes], modulus: int, keep: bool
) -> None:
    text = b"".join(one + end for one, end in zip(lines, newlines, strict=False))
    numpy, native = (parse(engine, text, modulus, keep_negatives=keep) for engine in ENGINES)
    assert native == numpy


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize(("field", "value"), [(b"-2147483648", -(2**31)), (b"-1", -1), (b"-0", 0), (b"", 0)])
def test_negative_numbers_can_be_kept(engine: Engine, field: bytes, value: int) -> None:
    found = parse(engine, GOOD.replace(b"\t5", b"\t" + field, 1) + b"\n", 0, keep_negatives=True)
    columns, histogram = found[3], found[5]
    assert columns[1] == [value]  # type: ignore[index]
    assert histogram[0][0] == 1  # type: ignore[index]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    ("field", "value"),
    [(b"-2147483648", 0), (b"2147483647", 2147483647), (b"-0", 0), (b"000000000000000000012", 12), (b"", 0)],
)
def test_extreme_integers(engine: Engine, field: bytes, value: int) -> None:
    rows, _, bads, columns, *_ = parse(engine, GOOD.replace(b"\t5", b"\t" + field, 1) + b"\n", 0)
    assert (rows, bads) == (1, 0)
    assert columns[1] == [value]  # type: ignore[index]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_parsing_ends_when_there_is_no_room_for_bad_lines(engine: Engine) -> None:
    _, lines, bads, *_ = parse(engine, b"x\n" * 20, 0)
    assert (lines, bads) == (8, 8)


def column(values: Sequence[int], fields: int = 1) -> Matrix:
    """Return raw values as the last columns of a chunk whose columns are all alike."""
    return np.tile(np.array(values, np.uint32).view(np.int32), (fields, 1))


@settings(deadline=None, max_examples=examples(60))
@given(
    chunks=st.lists(st.lists(st.integers(0, 30) | st.integers(0, 2**32 - 1), max_size=40), max_size=5),
    probes=st.lists(st.integers(0, 40), max_size=10),
)
def test_tables_number_values_by_first_appearance(chunks: list[list[int]], probes: list[int]) -> None:
    for engine in ENGINES:
        table, known = engine.table(), {}  # type: ignore[var-annotated]
        tables = engine.pipeline([table])
        for index, chunk in enumerate(chunks):
            columns = column(chunk)
            tables.number(index, columns, len(chunk), learn=True)
            for value in chunk:
                known.setdefault(value, len(known))
            assert columns[0].tolist() == [known[value] for value in chunk]
        values, counts = table.read()
        rows = [value for chunk in chunks for value in chunk]
        assert values.tolist() == list(known)
        assert counts.tolist() == [rows.count(value) for value in known]
        again = engine.table()
        again.restore(values, counts)
        columns = column(probes)
        engine.pipeline([again]).number(0, columns, len(probes), learn=False)
        assert columns[0].tolist() == [known.get(value, -1) for value in probes]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_chunks_pass_a_line_in_their_order_whatever_threads_do(engine: Engine) -> None:
    tables = [engine.table() for _ in range(3)]
    pipeline = engine.pipeline(tables)
    chunks = [column(range(10 * chunk, 10 * chunk + 20), 3) for chunk in range(40)]
    threads = [
        threading.Thread(target=lambda part=part: [pipeline.number(n, chunks[n], 20, learn=True) for n in part])
        for part in (range(39, 40), *(range(first, 39, 4) for first in (3, 1, 2, 0)))
    ]
    for thread in threads:  # The last chunk comes first, and the first one last.
        thread.start()
        time.sleep(0.002)  # So that the others have to sleep, rather than just spin.
    for thread in threads:
        thread.join(200)
    for number, chunk in enumerate(chunks):
        assert chunk.tolist() == [list(range(10 * number, 10 * number + 20))] * 3
    assert [len(table) for table in tables] == [410] * 3


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_stopped_line_releases_waiting_threads(engine: Engine) -> None:
    pipeline, ends = engine.pipeline([engine.table()]), []  # type: ignore[var-annotated]

    def wait() -> None:
        try:
            pipeline.number(1, column([1, 2]), 2, learn=True)
        except StoppedError:
            ends.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.01)
    assert thread.is_alive()  # Waits for chunk 0, which never comes.
    pipeline.stop()
    thread.join(200)
    assert ends == ["stopped"]


@needs_native
@pytest.mark.parametrize("step", [1, 256, 65_536, 0x9E3779B1])
def test_table_grows_to_many_values_of_a_pattern(step: int) -> None:
    table = ENGINES[1].table()
    values = (np.arange(300_000, dtype=np.uint64) * step % 2**32).astype(np.uint32)
    distinct = len(np.unique(values))
    ENGINES[1].pipeline([table]).number(0, column(values), len(values), learn=True)
    assert len(table) == distinct
    assert (table.read()[1] == 300_000 // distinct).all() or distinct < 300_000
    assert table.nbytes < 60 * distinct + 100_000


@needs_native
@settings(deadline=None, max_examples=examples(30))
@given(
    rows=st.integers(0, 50),
    first=st.integers(0, 2**40),
    seed=st.integers(0, 2**63),
    buckets=st.integers(1, 9),
)
def test_scatter_order_take_and_remap_agree(rows: int, first: int, seed: int, buckets: int) -> None:
    rng = np.random.default_rng(rows)
    columns = rng.integers(0, 100, (40, 64), dtype=np.int32)
    mapping = rng.permutation(100).astype(np.int32)
    found = []
    for engine in ENGINES:
        keyed, records = np.zeros(64, keyed_dtype(40)), np.zeros((rows, 40), np.int32)
        sizes = engine.scatter(columns, rows, seed, first, buckets, keyed)
        clicks = engine.take(keyed, engine.order(keyed[:rows]), records)
        assert clicks == np.count_nonzero(records[:, 0])
        engine.remap(records, 14, mapping)
        plain = np.zeros((rows, 40), np.int32)
        engine.records(columns, rows, plain)
        found.append((sizes.tolist(), keyed.tobytes(), records.tolist(), plain.tolist()))
    assert found[0] == found[1]


@settings(deadline=None, max_examples=examples(60))
@given(keys=st.sets(st.integers(0, 40) | st.integers(2**63, 2**63 + 9) | st.integers(0, 2**64 - 1), max_size=60))
def test_keys_that_agree_in_most_bits_are_ordered(keys: set[int]) -> None:
    for engine in ENGINES:
        keyed = np.zeros(len(keys), keyed_dtype(40))
        keyed["key"] = list(keys)
        assert keyed["key"][engine.order(keyed)].tolist() == sorted(keys)


def test_buckets_in_their_order_are_the_rows_in_the_order_of_their_keys() -> None:
    columns = np.tile(np.arange(500, dtype=np.int32), (40, 1))
    keys = row_keys(3, 70, 500)
    assert len(set(keys.tolist())) == 500
    for engine in ENGINES:
        for buckets in (1, 7):
            keyed = np.empty(500, keyed_dtype(40))
            sizes = engine.scatter(columns, 500, 3, 70, buckets, keyed)
            stops = np.cumsum(sizes)
            rows = np.empty((500, 40), np.int32)
            for start, stop in zip(stops - sizes, stops, strict=True):
                engine.take(keyed[start:stop], engine.order(keyed[start:stop]), rows[start:stop])
            assert rows[:, 0].tolist() == np.argsort(keys).tolist()


def test_a_library_that_is_missing_or_old_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load("nothing", 1, tmp_path) is None
    assert load("nothing", 1, tmp_path) is None
    assert caplog.text.count("native nothing code was not built") == 1
    if native_library:
        assert load("preprocess", 999, Path(engine_folder.__path__[0])) is None
        assert "has version" in caplog.text


def test_the_numpy_fallback_is_used_where_it_is_asked_for() -> None:
    code = "from dlrm_pl.data.preprocessing.engine.numpy_engine import engine; print(engine().name)"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"DLRM_PL_ISA": "fallback"}, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "numpy\n"
