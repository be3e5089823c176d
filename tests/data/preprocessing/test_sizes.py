"""The native functions of preprocessing refuse arrays of wrong sizes, and contents out of range."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlrm_pl.data.preprocessing.engine.library import library
from dlrm_pl.data.preprocessing.engine.native import DENSE_BINS, TEXT_PADDING, NativeEngine, keyed_dtype
from dlrm_pl.data.preprocessing.engine.numpy_engine import Engine, NumPyEngine
from dlrm_pl.errors import DataFormatError, ShapeError

LIBRARY = library()
ENGINES: list[Engine] = [NumPyEngine(), *([NativeEngine(LIBRARY)] if LIBRARY else [])]
TEXT = b"1" + b"\t5" * 13 + b"\tab" * 26 + b"\n"
every_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
needs_native = pytest.mark.skipif(LIBRARY is None, reason="the native code was not built")


def text(content: bytes) -> np.ndarray:
    return np.frombuffer(content + bytes(TEXT_PADDING), np.uint8).copy()


def parsing() -> dict[str, Any]:
    return {
        "text": text(TEXT * 2),
        "size": 2 * len(TEXT),
        "modulus": 0,
        "columns": np.zeros((40, 2), np.int32),
        "missing": np.zeros(40, np.int64),
        "histogram": np.zeros((13, DENSE_BINS), np.int64),
        "largest": np.zeros(13, np.int64),
        "bad": np.zeros((2, 3), np.int64),
    }


def scattering() -> dict[str, Any]:
    columns, out = np.zeros((40, 5), np.int32), np.zeros(5, keyed_dtype(40))
    return {"columns": columns, "rows": 5, "seed": 1, "first_row": 0, "buckets": 2, "out": out}


def recording() -> dict[str, Any]:
    return {"columns": np.zeros((40, 5), np.int32), "rows": 5, "out": np.zeros((5, 40), np.int32)}


def appending() -> dict[str, Any]:
    return {"files": np.zeros(2, np.int32), "keyed": np.zeros(3, keyed_dtype(40)), "sizes": np.zeros(2, np.int64)}


def taking() -> dict[str, Any]:
    order = np.arange(3, dtype=np.uint32)
    return {"keyed": np.zeros(3, keyed_dtype(40)), "order": order, "out": np.zeros((3, 40), np.int32)}


def remapping() -> dict[str, Any]:
    return {"records": np.zeros((3, 40), np.int32), "field": 14, "mapping": np.zeros(1, np.int32)}


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


other = np.dtype([("key", "<u8"), ("record", "<i4", (40,)), ("more", "<i4")])
CASES: list[tuple[str, Callable[[], dict[str, Any]], dict[str, Any], str]] = [
    ("parse", parsing, {"size": 2 * len(TEXT) + 1}, "bytes of text and of its padding"),
    ("parse", parsing, {"size": -1}, "the text$|the text\\."),
    ("parse", parsing, {"size": 2 * len(TEXT) - 1}, "does not end in a newline"),
    ("parse", parsing, {"text": np.zeros(300, np.int8)}, r"text: an array of uint8 \['any'\] .* got int8"),
    ("parse", parsing, {"columns": np.zeros((40, 1), np.int32)}, "more rows than the columns have room for"),
    ("parse", parsing, {"columns": np.zeros((39, 2), np.int32)}, r"missing: .* int64 \[39\] .* got int64 \[40\]"),
    ("parse", parsing, {"histogram": np.zeros((12, DENSE_BINS), np.int64)}, r"largest: .* int64 \[12\]"),
    ("parse", parsing, {"columns": np.zeros((40, 4), np.int32)[:, ::2]}, r"got int32 \[40, 2\] with gaps"),
    ("parse", parsing, {"columns": read_only(np.zeros((40, 4), np.int32))}, "writable array .* cannot be written"),
    ("parse", parsing, {"missing": np.zeros(39, np.int64)}, "missing: a writable array"),
    ("parse", parsing, {"histogram": np.zeros((13, 9), np.int64)}, "histogram: a writable array"),
    ("parse", parsing, {"largest": np.zeros(13, np.int32)}, "largest: a writable array"),
    ("parse", parsing, {"bad": np.zeros((3, 2), np.int64)}, "bad: a writable array"),
    ("records", recording, {"rows": 4}, r"out: a writable array of int32 \[4, 40\]"),
    ("records", recording, {"rows": 6, "out": np.zeros((6, 40), np.int32)}, "more rows than the columns have room for"),
    ("scatter", scattering, {"rows": 6}, "rows in the records: 6 do not fit into 5"),
    ("scatter", scattering, {"rows": -1}, "-1 do not fit"),
    ("scatter", scattering, {"columns": np.zeros((40, 4), np.int32)}, "more rows than the columns have room for"),
    ("scatter", scattering, {"columns": np.zeros((39, 5), np.int32)}, r"out: .*'<i4', \(39,\)"),
    ("scatter", scattering, {"buckets": 0}, "the number of buckets"),
    ("scatter", scattering, {"buckets": -3}, "the number of buckets"),
    ("scatter", scattering, {"out": np.zeros(5, np.int64)}, "out: a writable array"),
    ("append", appending, {"sizes": np.array([2, 2])}, "more rows than there are"),
    ("append", appending, {"sizes": np.array([-1, 1])}, "more rows than there are"),
    ("append", appending, {"files": np.zeros(1, np.int32)}, "files: an array"),
    ("order", lambda: {"keyed": np.zeros(3, keyed_dtype(40))}, {"keyed": np.zeros(3, np.int64)}, "keyed: an array"),
    ("order", lambda: {"keyed": np.zeros(3, keyed_dtype(40))}, {"keyed": np.zeros(3, other)}, "keyed: an array"),
    ("take", taking, {"keyed": np.zeros(3, keyed_dtype(39))}, r"out: a writable array of int32 \[3, 39\]"),
    ("take", taking, {"out": np.zeros((2, 40), np.int32)}, "out: a writable array"),
    ("take", taking, {"order": np.arange(3)}, "order: an array of uint32"),
    ("remap", remapping, {"field": 40}, "the rows, the field or the map"),
    ("remap", remapping, {"field": -1}, "the rows, the field or the map"),
    ("remap", remapping, {"mapping": np.zeros(1, np.int64)}, "mapping: an array of int32"),
    ("remap", remapping, {"records": read_only(np.zeros((3, 40), np.int32))}, "cannot be written"),
]


@needs_native
@pytest.mark.parametrize(("function", "good", "change", "message"), CASES)
def test_arrays_that_do_not_fit_are_refused(
    function: str, good: Callable[[], dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    assert LIBRARY is not None
    call = getattr(NativeEngine(LIBRARY), function)
    call(**good())
    with pytest.raises(ShapeError, match=message):
        call(**(good() | change))


@every_engine
@pytest.mark.parametrize("number", [-1, 3, 2**31 - 1])
def test_number_outside_its_mapping_is_named(engine: Engine, number: int) -> None:
    records = np.zeros((4, 40), np.int32)
    records[2, 20] = number
    with pytest.raises(DataFormatError, match=f"Record 2 has number {number} in field 20, but must have 0 to 2"):
        engine.remap(records, 20, np.arange(3, dtype=np.int32))


@every_engine
@pytest.mark.parametrize("records", [0, 3])
def test_order_of_rows_that_are_not_there_is_refused(engine: Engine, records: int) -> None:
    order, out = np.array([0, 3], np.uint32), np.zeros((2, 40), np.int32)
    with pytest.raises(ShapeError, match="order has"):
        engine.take(np.zeros(records, keyed_dtype(40)), order, out)


@every_engine
def test_table_with_a_value_twice_is_refused(engine: Engine) -> None:
    table = engine.table()
    with pytest.raises(DataFormatError, match="value 7 occurs twice"):
        table.restore(np.array([5, 7, 6, 7], np.uint32), np.ones(4, np.uint32))
    assert len(table) == 0
    table.restore(np.array([5, 7], np.uint32), np.ones(2, np.uint32))
    assert table.read(1)[0].tolist() == [7]


@needs_native
def test_tables_and_lines_refuse_what_does_not_fit() -> None:
    assert LIBRARY is not None
    engine = NativeEngine(LIBRARY)
    table = engine.table()
    for first in (-1, 1):
        with pytest.raises(ShapeError, match=f"{first} do not fit into 0"):
            table.read(first)
    with pytest.raises(ShapeError, match="counts: an array"):
        table.restore(np.zeros(2, np.uint32), np.zeros(1, np.uint32))
    with pytest.raises(ShapeError, match="the number of tables"):
        engine.pipeline([])
    with pytest.raises(ShapeError, match="comes twice"):
        engine.pipeline([table, table])
    pipeline = engine.pipeline([table, engine.table()])
    for columns, rows, message in (
        (np.zeros((1, 4), np.int32), 4, "tables of a pipeline, in columns: 2 do not fit into 1"),
        (np.zeros((40, 4), np.int32), 5, "more rows than the columns"),
        (np.zeros((40, 4), np.int32), -1, "more rows than the columns"),
        (np.zeros((40, 4), np.int64), 4, "columns: a writable array of int32"),
        (read_only(np.zeros((40, 4), np.int32)), 4, "cannot be written"),
    ):
        with pytest.raises(ShapeError, match=message):
            pipeline.number(0, columns, rows, learn=True)
    with pytest.raises(ShapeError, match="the number of the chunk"):
        pipeline.number(-1, np.zeros((40, 4), np.int32), 4, learn=True)
    pipeline.number(0, np.zeros((40, 4), np.int32), 4, learn=True)
    with pytest.raises(ShapeError, match="the number of the chunk, which came already"):
        pipeline.number(0, np.ones((40, 4), np.int32), 4, learn=True)
    pipeline.number(1, np.zeros((40, 4), np.int32), 4, learn=True)
    assert len(table) == 1


@needs_native
def test_c_functions_refuse_null_and_numbers_beyond_64_bits() -> None:
    assert LIBRARY is not None
    lib, memory = LIBRARY, (ctypes.c_int64 * 400)()
    table = lib.dlrm_table_new()
    big = 2**62
    refused = [
        *(
            lib.dlrm_parse(*first, 0, 1, 0, 2, 5, memory, 1, *[memory] * 5, 1, memory)
            for first in ((None, 1), (memory, big))
        ),
        *(
            lib.dlrm_parse(memory, 0, 0, 1, 0, 2, 5, *wrong, *[memory] * 5, 1, memory)
            for wrong in ((None, 1), (memory, -1))
        ),
        *(
            lib.dlrm_parse(memory, 0, 0, 1, 0, *counts, memory, 1, *[memory] * 5, 1, memory)
            for counts in ((-1, 5), (4, 5), (5, 5), (1, 0), (1, 2**16 + 1))
        ),
        lib.dlrm_parse(memory, 0, 0, 3, 0, 2, 5, memory, 1, *[memory] * 5, 1, memory),
        lib.dlrm_parse(memory, 0, 0, 1, 0, 2, 5, memory, 1, None, *[memory] * 4, 1, memory),
        lib.dlrm_parse(memory, 0, 0, 1, 0, 2, 5, memory, 1, *[memory] * 4, None, 1, memory),
        lib.dlrm_parse(memory, 0, 0, 1, 0, 2, 5, memory, 1, *[memory] * 5, -1, memory),
        lib.dlrm_table_size(None),
        lib.dlrm_table_bytes(None),
        lib.dlrm_table_read(None, 0, 0, None, None),
        lib.dlrm_table_read(table, 0, 1, memory, memory),
        lib.dlrm_table_read(table, 1, 0, memory, memory),
        lib.dlrm_table_restore(None, memory, memory, 1),
        lib.dlrm_table_restore(table, None, memory, 1),
        lib.dlrm_table_restore(table, memory, memory, -1),
        lib.dlrm_pipeline_number(None, 0, memory, 1, 1, 1),
        lib.dlrm_records(None, 5, 1, 1, memory),
        lib.dlrm_records(memory, 5, 1, 1, None),
        lib.dlrm_records(memory, 5, big, big, memory),
        lib.dlrm_scatter(memory, 5, 1, 1, 0, 0, 2**40, memory, memory),
        lib.dlrm_scatter(memory, 5, 1, 1, 0, 0, 1, None, memory),
        lib.dlrm_append(memory, memory, 5, -1, memory, 1),
        lib.dlrm_append(None, memory, 5, 1, memory, 1),
        lib.dlrm_order(memory, 5, -1, memory),
        lib.dlrm_order(memory, 5, 2**32, memory),
        lib.dlrm_order(None, 5, 1, memory),
        lib.dlrm_take(memory, 5, -1, memory, 1, memory),
        lib.dlrm_take(memory, 5, 1, None, 1, memory),
        lib.dlrm_remap(memory, 5, -1, 0, memory, 1),
        lib.dlrm_remap(None, 5, 1, 0, memory, 1),
        *(lib.dlrm_remap(memory, 5, 1, field, memory, 1) for field in (-1, 5)),
        *(lib.dlrm_swap(*swapped) for swapped in ((None, 1, memory, 1), (memory, 1, None, 1), (memory, 1, memory, 2))),
        *(lib.dlrm_swap(memory, *counts) for counts in ((-1, memory, 0), (big, memory, 0), (1, memory, -1))),
        *(
            call
            for fields in (0, -1, 2**16 + 1)
            for call in (
                lib.dlrm_records(memory, fields, 1, 1, memory),
                lib.dlrm_scatter(memory, fields, 1, 1, 0, 0, 1, memory, memory),
                lib.dlrm_append(memory, memory, fields, 1, memory, 1),
                lib.dlrm_order(memory, fields, 1, memory),
                lib.dlrm_take(memory, fields, 1, memory, 1, memory),
                lib.dlrm_remap(memory, fields, 1, 0, memory, 1),
            )
        ),
    ]
    assert refused == [-3] * len(refused)
    assert lib.dlrm_table_restore(table, memory, memory, 2**40) == -1  # More than the number of values.
    assert lib.dlrm_pipeline_new(None, 1) is None
    assert lib.dlrm_pipeline_new((ctypes.c_void_p * 1)(None), 1) is None
    lib.dlrm_pipeline_stop(None)
    lib.dlrm_pipeline_free(None)
    lib.dlrm_table_free(table)
