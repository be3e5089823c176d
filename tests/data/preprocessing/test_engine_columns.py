"""The engines read and arrange rows of any number of columns as loops in Python do, and as each other do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.preprocessing.engine.library import library
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS, TEXT_PADDING, NativeEngine, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, NumPyEngine, row_keys
from tests.support.examples import examples

LIBRARY = library()
ENGINES: list[Engine] = [NumPyEngine(), *([NativeEngine(LIBRARY)] if LIBRARY else [])]
every_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)

integers = st.none() | st.integers(-3, 20) | st.integers(-(2**31), 2**31 - 1)
categories = st.none() | st.integers(0, 2**32 - 1)


def parsed(engine: Engine, text: bytes, num_dense: int, num_sparse: int, room: int, modulus: int = 0) -> list[object]:
    """Return rows, missing fields by column, values by bin, and largest values."""
    fields = 1 + num_dense + num_sparse
    columns, missing = np.zeros((fields, room), np.int32), np.zeros(fields, np.int64)
    histogram, largest = np.zeros((num_dense, DENSE_BINS), np.int64), np.zeros(num_dense, np.int64)
    bad = np.zeros((2, 9), np.int64)
    buffer = np.frombuffer(text + b"f" * TEXT_PADDING, np.uint8).copy()
    rows, lines, bads = engine.parse(buffer, len(text), modulus, columns, missing, histogram, largest, bad)
    assert (lines, bads) == (text.count(b"\n"), lines - rows)
    return [columns[:, :rows].T.tolist(), missing.tolist(), histogram, largest.tolist(), bad[1, :bads].tolist()]


@settings(deadline=None, max_examples=examples(60))
@given(
    data=st.data(), num_dense=st.integers(1, 9), num_sparse=st.integers(1, 19), modulus=st.sampled_from([0, 7, 2**31])
)
def test_lines_of_any_columns_are_read(data: st.DataObject, num_dense: int, num_sparse: int, modulus: int) -> None:
    row = st.tuples(
        st.integers(0, 1),
        st.lists(integers, min_size=num_dense, max_size=num_dense),
        st.lists(categories, min_size=num_sparse, max_size=num_sparse),
    )
    # More rows than the parser copies at once, with any remainder.
    rows = data.draw(st.lists(row, max_size=5)) * data.draw(st.integers(1, 12))
    text, expected = b"", []
    missing, bins = [0] * (1 + num_dense + num_sparse), np.zeros((num_dense, DENSE_BINS), np.int64)
    for label, dense, sparse in rows:
        text += b"%d" % label + b"".join(b"\t" + (b"" if v is None else b"%d" % v) for v in dense)
        text += b"".join(b"\t" + (b"" if v is None else b"%x" % v if v % 3 else b"%08X" % v) for v in sparse) + b"\n"
        values = [max(v or 0, 0) for v in dense]
        for feature, value in enumerate(values):
            bins[feature, min(value, DENSE_BINS - 1)] += 1
        for field, value in enumerate([*dense, *sparse], start=1):
            missing[field] += value is None
        ids = [(v or 0) % modulus if modulus else v or 0 for v in sparse]
        expected.append([label, *values, *(v - 2**32 * (v >= 2**31) for v in ids)])
    largest = [max([row[1 + feature] for row in expected], default=0) for feature in range(num_dense)]
    for engine in ENGINES:
        found = parsed(engine, text, num_dense, num_sparse, len(rows) + 3, modulus)
        assert found[0] == expected
        assert found[1] == missing
        assert (found[2] == bins).all()  # type: ignore[attr-defined]
        assert found[3:] == [largest, []]


@every_engine
@pytest.mark.parametrize("more", [b"", b"\r"])
def test_a_field_too_many_or_too_few_is_a_bad_line(engine: Engine, more: bytes) -> None:
    lines = [
        b"1\t5\ta",
        b"1\t5\ta\tb",
        b"1\t5\ta\tb\tc",
        b"1\t5\t\t",
        b"1\t\ta\tbbbbbbbbb",
        b"0\tff\ta\tb",
        b"0\t1\tg\tb",
    ]
    found = parsed(engine, b"".join(line + more + b"\n" for line in lines), 1, 2, 20)
    assert found[0] == [[1, 5, 0xA, 0xB], [1, 5, 0, 0]]
    assert found[4] == [0, 2, 4, 5, 6]


@every_engine
def test_lines_of_many_columns_may_be_longer(engine: Engine) -> None:
    dense, sparse = 1500, 3000
    line = b"\t".join([b"1", *[b"1234567890"] * dense, *[b"89abcdef"] * sparse]) + b"\n"
    assert len(line) > 32_000
    found = parsed(engine, line, dense, sparse, 1)
    assert found[0] == [[1, *[1234567890] * dense, *[0x89ABCDEF - 2**32] * sparse]]
    zeros = 24 * (1 + dense + sparse) - len(line) + 1
    found = parsed(engine, line.replace(b"\t", b"\t" + b"0" * zeros, 1) * 2 + b"1\t" + line[1:], dense, sparse, 2)
    assert [len(found[0]), found[4]] == [2, [2]]  # type: ignore[arg-type]
    found = parsed(engine, line.replace(b"\t", b"\t" + b"0" * (zeros + 1), 1), dense, sparse, 2)
    assert [found[0], found[4]] == [[], [0]]


@settings(deadline=None, max_examples=examples(40))
@given(
    fields=st.integers(1, 70),
    rows=st.integers(0, 50),
    first=st.integers(0, 2**40),
    seed=st.integers(0, 2**63),
    buckets=st.integers(1, 5),
)
def test_records_of_any_size_are_grouped_sorted_and_mapped(
    fields: int, rows: int, first: int, seed: int, buckets: int
) -> None:
    rng = np.random.default_rng(rows)
    columns = rng.integers(-(2**31), 2**31 - 1, (fields, 64), dtype=np.int32)
    field = int(rng.integers(fields))
    columns[field] = rng.integers(0, 100, 64)
    mapping, keys = rng.permutation(100).astype(np.int32), row_keys(seed, first, rows)
    expected = columns[:, :rows].T[np.argsort(keys)]
    expected[:, field] = mapping[expected[:, field]]
    for engine in ENGINES:
        plain, keyed = np.zeros((rows, fields), np.int32), np.zeros(64, keyed_dtype(fields))
        engine.records(columns, rows, plain)
        assert (plain == columns[:, :rows].T).all()
        stops = np.cumsum(engine.scatter(columns, rows, seed, first, buckets, keyed)).tolist()
        sorted_rows = np.zeros((rows, fields), np.int32)
        for start, stop in zip([0, *stops], stops, strict=False):
            clicks = engine.take(
                keyed[start:stop], engine.order(keyed[start:stop]), out := np.zeros((stop - start, fields), np.int32)
            )
            assert clicks == np.count_nonzero(out[:, 0])
            sorted_rows[start:stop] = out
        assert (keyed["key"][:rows][engine.order(keyed[:rows])] == np.sort(keys)).all()
        engine.remap(sorted_rows, field, mapping)
        assert (sorted_rows == expected).all()


@every_engine
@pytest.mark.parametrize("fields", [3, 4, 129])
def test_buckets_of_any_records_are_appended_to_their_files(engine: Engine, tmp_path: Path, fields: int) -> None:
    columns = np.arange(fields * 32, dtype=np.int32).reshape(fields, 32)
    keyed = np.zeros(32, keyed_dtype(fields))
    sizes = engine.scatter(columns, 32, 1, 0, 3, keyed)
    handles = [(tmp_path / str(bucket)).open("ab") for bucket in range(3)]
    engine.append(np.array([handle.fileno() for handle in handles], np.int32), keyed, sizes)
    for handle in handles:
        handle.close()
    assert [os.path.getsize(tmp_path / str(bucket)) for bucket in range(3)] == (sizes * (8 + 4 * fields)).tolist()
    assert b"".join((tmp_path / str(bucket)).read_bytes() for bucket in range(3)) == keyed.tobytes()
