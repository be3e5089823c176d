"""Native code makes bit-identical batches to NumPy's, and stops at the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.batch import ClickBatch, to_batch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding import native
from dlrm_pl.data.decoding.capping import capped_records, capped_sizes
from dlrm_pl.data.decoding.decoder import Decoder, read_in_advance, rows_of
from dlrm_pl.data.formats.record_checks import RecordChecks
from dlrm_pl.errors import DataFormatError, ShapeError
from tests.support.examples import examples
from tests.support.logs.any_columns import MIXED, any_columns, random_records, sizes_of

pytestmark = pytest.mark.skipif(native.library() is None, reason="the native code was not built")


def assert_same_bits(got: ClickBatch, expected: ClickBatch) -> None:
    for name in ClickBatch._fields:
        one, other = getattr(got, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert (one.dtype, one.shape, one.is_contiguous()) == (other.dtype, other.shape, True), name
            assert one.numpy().tobytes() == other.numpy().tobytes(), name


def selections_of(data: st.DataObject, rows: int) -> list[Any]:
    """Slices, or row numbers with repetitions, or both."""
    kind = data.draw(st.sampled_from(["slices", "rows", "both"]))
    selections: list[Any] = []
    for _ in range(data.draw(st.integers(1, 4))):
        if kind == "slices" or (kind == "both" and data.draw(st.booleans())):
            first = data.draw(st.integers(0, rows))
            selections.append(slice(first, data.draw(st.integers(first, rows))))
        else:
            selections.append(np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=40)), np.int64))
    return selections


@settings(deadline=None, max_examples=examples(80))
@given(data=st.data(), columns=any_columns(), rows=st.integers(1, 40), modulus=st.sampled_from([-1, 1, 3, 2**40]))
def test_batches_have_the_bits_of_numpy(data: st.DataObject, columns: Columns, rows: int, modulus: int) -> None:
    records = random_records(columns, rows, data.draw(st.integers(0, 99)))
    selections = selections_of(data, rows)
    sizes = capped_sizes(sizes_of(columns), modulus, columns)
    batches = Decoder(columns, sizes, modulus).decode(records, selections)
    assert len(batches) == len(selections)
    expected = capped_records(records, columns, modulus) if modulus == 3 or modulus == 1 else records
    for batch, selection in zip(batches, selections, strict=True):
        assert_same_bits(batch, to_batch(expected[selection], columns))


@settings(deadline=None, max_examples=examples(100))
@given(data=st.data(), columns=any_columns())
def test_decoding_stops_at_the_batch_that_the_checks_refuse(data: st.DataObject, columns: Columns) -> None:
    records = random_records(columns, 6, data.draw(st.integers(0, 9)))
    row, field = data.draw(st.integers(0, 5)), data.draw(st.integers(0, columns.record_ints - 1))
    bits = [int(np.float32(value).view(np.int32)) for value in (np.nan, np.inf, -np.inf, -1.5, -0.0)]
    records[row, field] = data.draw(st.sampled_from([-2, -1, 0, 1, 2, 5, 6, 8, 9, 2**31 - 1, -(2**31), *bits]))
    sizes = sizes_of(columns)
    try:
        RecordChecks(Path("x.bin"), columns, sizes).check(records, range(6))
        good = 3
    except DataFormatError:
        good = row // 2
    batches = Decoder(columns, sizes, -1).decode(records, [slice(first, first + 2) for first in (0, 2, 4)])
    assert len(batches) == good
    for number, batch in enumerate(batches):
        assert_same_bits(batch, to_batch(records[2 * number : 2 * number + 2], columns))


@pytest.mark.parametrize("rows", [3, 4, 16, 23])
@pytest.mark.parametrize("tables", [3, 4, 9])
def test_every_id_of_a_batch_is_checked(tables: int, rows: int) -> None:
    sparse = tuple(SparseColumn(name=f"c{number}", kind="integer") for number in range(tables))
    columns = Columns("y", (DenseColumn(name="n"),), sparse)
    sizes = [2**31 + 5 if table == 1 else table + 1 for table in range(tables)]
    good = np.zeros((rows, columns.record_ints), np.int32)
    good[:, columns.record_ints - tables :] = np.arange(tables) % [min(size, 9) for size in sizes]
    good[-1, columns.record_ints - tables + 1] = 2**31 - 1
    decoder = Decoder(columns, sizes, -1)
    (batch,) = decoder.decode(good, [slice(0, rows)])
    assert_same_bits(batch, to_batch(good, columns))
    for row in range(rows):
        for table in range(tables):
            for value in {-1, -(2**31), min(sizes[table], 2**31)} - {2**31}:
                records = good.copy()
                records[row, columns.record_ints - tables + table] = value
                assert not decoder.decode(records, [slice(0, rows)]), (row, table, value)


def test_large_counts_have_the_logarithm_of_numpy() -> None:
    columns = Columns.criteo()
    rng = np.random.default_rng(1)
    records = np.zeros((3000, columns.record_ints), np.int32)
    records[:, columns.dense_fields] = (2 ** rng.uniform(0, 31, (3000, columns.num_dense))).astype(np.int64) - 1
    (batch,) = Decoder(columns, [1] * columns.num_sparse, -1).decode(records, [slice(0, 3000)])
    assert_same_bits(batch, to_batch(records, columns))


def test_a_batch_that_is_changed_changes_no_other() -> None:
    records = random_records(MIXED, 20)
    one, other = Decoder(MIXED, sizes_of(MIXED), -1).decode(records, [slice(0, 10), slice(10, 20)])
    for tensor in one:
        assert isinstance(tensor, torch.Tensor)
        tensor.zero_()
    assert_same_bits(other, to_batch(records[10:], MIXED))


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (slice(0, 21), "a row is not in the file"),
        (slice(-1, 3), "a row is not in the file"),
        (slice(5, 3), "the size of a batch is out of range"),
        (np.array([0, 20]), "a row is not in the file"),
        (np.array([-1]), "a row is not in the file"),
        (np.array([2**62]), "a row is not in the file"),
    ],
)
def test_rows_outside_the_records_are_refused(selection: Any, reason: str) -> None:
    layout = native.RecordLayout(MIXED, sizes_of(MIXED), -1)
    library, records, rows = native.library(), random_records(MIXED, 20), rows_of([selection, slice(0, 9)])
    assert library is not None
    with pytest.raises(ShapeError, match=reason):
        layout.decode(library, records, rows, pin_memory=False)
    with pytest.raises(ShapeError, match="a row is not in the file"):
        native.will_need(library, records, rows)


def test_records_of_another_layout_are_refused() -> None:
    layout = native.RecordLayout(MIXED, sizes_of(MIXED), -1)
    library, rows = native.library(), rows_of([slice(0, 1)])
    assert library is not None
    with pytest.raises(ShapeError, match="records: an array of int32"):
        layout.decode(library, np.zeros((3, MIXED.record_ints + 1), np.int32), rows, pin_memory=False)
    layout._sparse["first"][1] = 3
    with pytest.raises(ShapeError, match="the ids of a column are not behind those of the column before"):
        layout.decode(library, random_records(MIXED, 3), rows, pin_memory=False)


@pytest.mark.parametrize("selection", [slice(0, 300), slice(7, 7), np.array([0, 3, 299]), np.array([], np.int64)])
def test_asking_the_kernel_for_rows_changes_none(selection: Any, tmp_path: Path) -> None:
    records = random_records(MIXED, 300)
    records.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", np.int32, "r", shape=records.shape).view(np.ndarray)
    read_in_advance(mapped, [selection])
    np.testing.assert_array_equal(mapped, records)
