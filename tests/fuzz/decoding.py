"""Random records, some with values that must not be there, decoded by native code and by NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.batch import to_batch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding import native
from dlrm_pl.data.decoding.capping import capped_records, capped_sizes
from dlrm_pl.data.decoding.decoder import Decoder, rows_of
from dlrm_pl.data.loading.record_checks import RecordChecks
from dlrm_pl.errors import DataFormatError, ShapeError
from tests.fuzz.outcome import HUGE, Rng, plain
from tests.support.logs.any_columns import random_records, sizes_of


def batches(rng: Rng) -> None:
    """Decode batches of slices or row numbers, with a fault here and there."""
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
    """Ask for rows that are not there."""
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


def selection(rng: Rng, rows: int) -> Any:
    if rng.random() < 0.5:
        first = int(rng.integers(rows + 1))
        return slice(first, int(rng.integers(first, rows + 1)))
    return np.sort(rng.integers(0, rows, int(rng.choice([0, 1, 16, 40]))))


def random_columns(rng: Rng) -> Columns:
    """Columns of any kind."""
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


TARGETS: tuple[Callable[[Rng], None], ...] = (batches, rows_outside)
