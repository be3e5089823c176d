"""Random records, some with invalid values, decoded by native code and by NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.batch import to_batch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding import native
from dlrm_pl.data.decoding.array_layout import ArrayLayout, DayArrays
from dlrm_pl.data.decoding.capping import capped_records, capped_sizes
from dlrm_pl.data.decoding.decoder import Decoder, batches_of, rows_of
from dlrm_pl.data.formats.record_checks import RecordChecks
from dlrm_pl.errors import DataFormatError, ShapeError
from tests.fuzz.outcome import HUGE, Rng, plain
from tests.support.logs.any_columns import random_records, sizes_of


def batches(rng: Rng) -> None:
    """Decode batches of slices or row numbers, with occasional faults."""
    columns, rows = random_columns(rng), int(rng.choice([1, 2, 15, 16, 17, 40, 300]))
    records = random_records(columns, rows, int(rng.integers(99)))
    modulus = int(rng.choice([-1, 1, 3]))
    if rng.random() < 0.3:
        place = rng.integers(rows), rng.integers(columns.record_ints)
        records[place] = rng.choice([-2, -1, 2, 7, 2**31 - 1, -(2**31), 0x7FC00000, 0x7F800000])
    sizes = capped_sizes(sizes_of(columns), modulus, columns)
    selections = [selection(rng, rows) for _ in range(rng.integers(1, 6))]
    found = Decoder(columns, sizes, modulus).decode(records, selections)
    checks = RecordChecks(Path("fuzz"), columns, sizes)
    for number, chosen in enumerate(selections):
        expected = capped_records(records[chosen], columns, modulus) if modulus > 0 else records[chosen]
        try:
            checks.check(expected, range(len(expected)))
        except DataFormatError:
            assert len(found) == number
            return
        assert plain(tuple(found[number])) == plain(tuple(to_batch(expected, columns)))
    assert len(found) == len(selections)


def rows_outside(rng: Rng) -> None:
    """Ask for rows that do not exist."""
    columns, rows = random_columns(rng), 20
    wrong: Any = [slice(0, 21), slice(20, 22), np.array([3, int(rng.choice([20, *HUGE]))])][rng.integers(3)]
    chosen = rows_of([slice(0, 5), wrong])
    layout, records = native.RecordLayout(columns, sizes_of(columns), -1), random_records(columns, rows)
    for call in (
        lambda: layout.decode(library(), records, chosen, pin_memory=False),
        lambda: native.will_need(library(), records, chosen),
    ):
        try:
            call()
        except ShapeError:
            continue
        raise AssertionError("rows outside the records were read")


def days(rng: Rng) -> None:
    """Decode the arrays of days, with stored or drawn bags and occasional faults."""
    sizes = [int(size) for size in rng.integers(2, 40, rng.integers(1, 5))]
    drawn = bool(rng.random() < 0.5)
    widths = [int(width) for width in rng.choice([1, 1, 2, 3, 17, 70], len(sizes))]
    dense_columns = random_columns(rng).dense
    sparse = [
        SparseColumn(name=f"s{number}", kind="integer", ids="modulo", rows=size, bag=width)
        for number, (size, width) in enumerate(zip(sizes, widths, strict=True))
    ]
    columns = Columns("y", dense_columns, tuple(sparse))
    counts = [int(count) for count in rng.choice([1, 2, 15, 16, 17, 40, 100], rng.integers(1, 4))]
    records = random_records(columns, sum(counts), int(rng.integers(99)))
    lookup: list[Any] = [None] * len(sizes)
    if drawn:
        lookup = [
            rng.integers(0, size, (size, width - 1)).astype(np.int32) if width > 1 else None
            for size, width in zip(sizes, widths, strict=True)
        ]
        for fields, table in zip(columns.table_fields, lookup, strict=True):
            if table is not None:
                records[:, fields.start + 1 : fields.stop] = table[records[:, fields.start]]
    expected, takes_remainder = records.copy(), bool(rng.random() < 0.5)
    arrays, first, wrong_day = [], 0, int(rng.integers(len(counts))) if rng.random() < 0.3 else -1
    for day, count in enumerate(counts):
        rows = records[first : first + count]
        ids = []
        for fields, table, size in zip(columns.table_fields, lookup, sizes, strict=True):
            values = rows[:, fields.start : fields.start + 1 if table is not None else fields.stop]
            values = values.astype([np.int32, np.int64][rng.integers(2)])
            if takes_remainder:
                values += size * rng.integers(0, 3, values.shape).astype(values.dtype)
            if day == wrong_day:
                values[rng.integers(count), rng.integers(values.shape[1])] = rng.choice([-1, -(2**31)])
            ids.append(unaligned(rng, values))
        dense = np.ascontiguousarray(rows[:, columns.dense_fields])
        arrays.append(DayArrays(unaligned(rng, dense), unaligned(rng, rows[:, :1].copy()), tuple(ids)))
        first += count
    layout = ArrayLayout(columns, sizes, takes_remainder=takes_remainder, days=arrays, lookup=lookup)
    selections = [selection(rng, sum(counts)) for _ in range(rng.integers(1, 6))]
    rows_ = rows_of(selections)
    found = batches_of(layout.decode(library(), rows_, pin_memory=False), rows_, columns)
    for batch, chosen in zip(found, selections, strict=False):
        if wrong_day < 0:
            assert plain(tuple(batch)) == plain(tuple(to_batch(expected[chosen], columns)))
    assert wrong_day >= 0 or len(found) == len(selections)
    wrong = rows_of([slice(0, 1), np.array([int(rng.choice([sum(counts), *HUGE]))])])
    try:
        layout.decode(library(), wrong, pin_memory=False)
    except ShapeError:
        return
    raise AssertionError("rows outside the days were read")


def unaligned(rng: Rng, values: Any) -> Any:
    """Return the same values starting at any byte, as arrays lie in an archive."""
    place = int(rng.integers(0, 9))
    memory = np.zeros(values.nbytes + place, np.uint8)
    memory[place:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return np.ndarray(values.shape, values.dtype, memory.data, place)


def selection(rng: Rng, rows: int) -> Any:
    if rng.random() < 0.5:
        first = int(rng.integers(rows + 1))
        return slice(first, int(rng.integers(first, rows + 1)))
    return np.sort(rng.integers(0, rows, int(rng.choice([0, 1, 16, 40]))))


def random_columns(rng: Rng) -> Columns:
    """Return columns of any kind."""
    dense, sparse = [], []
    for number in range(rng.integers(1, 5)):
        transform: Any = ["log1p", "none", "standardize"][rng.integers(3)]
        numbers = {"mean": 0.5, "deviation": 3.0} if transform == "standardize" else {}
        kind: Any = ["integer", "float"][rng.integers(2)]
        dense.append(DenseColumn(name=f"d{number}", type=kind, transform=transform, **numbers))
    lists = rng.random() < 0.6
    for number in range(rng.integers(1, 5)):
        length: Any = [{}, {"bag": 2}, {"at_most": 1}, {"at_most": 20}][rng.integers(4) if lists else 0]
        sparse.append(SparseColumn(name=f"s{number}", kind=["hex", "integer"][rng.integers(2)], **length))  # type: ignore[arg-type]
    return Columns("y", tuple(dense), tuple(sparse))


def library() -> Any:
    found = native.library()
    assert found is not None, "the native code was not built"
    return found


TARGETS: tuple[Callable[[Rng], None], ...] = (batches, rows_outside, days)
