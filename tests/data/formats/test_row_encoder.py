"""Rows with any columns become the same records as with a slow reference."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.errors import ConfigurationError
from tests.reference import records as reference
from tests.support.examples import examples
from tests.support.logs.raw_rows import raw_rows

LARGEST = 2**31 - 1
TEXTS = st.text("aé漢🎈 ", max_size=3).map(str.encode)
INTEGERS = st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63) + 2])
VALUES = {"hex": st.integers(0, 9) | st.just(2**32 - 1), "integer": INTEGERS, "string": TEXTS}


@st.composite
def schemas(draw: st.DrawFn) -> Columns:
    dense = []
    for number in range(draw(st.integers(1, 3))):
        transform = draw(st.sampled_from(["log1p", "none", "standardize"]))
        statistics: dict[str, Any] = {"mean": 2.5, "deviation": 3.0} if transform == "standardize" else {}
        kind = draw(st.sampled_from(["integer", "float"]))
        dense.append(DenseColumn(name=f"d{number}", type=kind, transform=transform, **statistics))
    sparse = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["hex", "integer", "string"]))
        ids = draw(st.sampled_from(["vocabulary", "hash", *(["modulo"] if kind != "string" else [])]))
        length: dict[str, Any] = draw(st.sampled_from([{}, {"bag": 2}, {"at_most": 1}, {"at_most": 3}]))
        rows = None if ids == "vocabulary" else draw(st.sampled_from([2, 7, LARGEST]))
        sparse.append(SparseColumn(name=f"s{number}", kind=kind, ids=ids, rows=rows, **length))
    return Columns("click", tuple(dense), tuple(sparse))


def values_of(column: SparseColumn) -> st.SearchStrategy[Any]:
    values = st.integers(0, 9) if column.ids == "modulo" else VALUES[column.kind]
    element = st.none() | values
    if column.at_most is not None:
        return st.lists(element, max_size=column.at_most)
    return st.lists(element, min_size=column.bag, max_size=column.bag) if column.bag > 1 else element


def dictionary_of(column: SparseColumn) -> st.SearchStrategy[Any]:
    if column.ids != "vocabulary":
        return st.none()
    special = st.sampled_from([reference.MISSING[column.kind], reference.UNSEEN[column.kind]])
    return st.lists(VALUES[column.kind] | special, min_size=1, max_size=6, unique=True)


def dense_values(column: DenseColumn) -> st.SearchStrategy[Any]:
    if column.type == "float":
        return st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)
    return st.none() | st.integers(-(2**31), LARGEST)


@settings(deadline=None, max_examples=examples(75))
@given(data=st.data(), columns=schemas(), modulus=st.sampled_from([-1, 0, 5]))
def test_records_are_those_of_the_reference(data: st.DataObject, columns: Columns, modulus: int) -> None:
    dictionaries = [data.draw(dictionary_of(column)) for column in columns.sparse]
    row = st.tuples(st.integers(0, 1), *map(dense_values, columns.dense), *map(values_of, columns.sparse))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    specs = [asdict(column) for column in columns.sparse]
    expected, unseen = [], 0
    for label, *fields in rows:
        dense = [reference.dense_bits(asdict(c), v) for c, v in zip(columns.dense, fields, strict=False)]
        sparse = []
        for spec, column, values, dictionary in zip(
            specs, columns.sparse, fields[len(dense) :], dictionaries, strict=True
        ):
            found = [
                reference.id_of(spec, value, dictionary, modulus) for value in (values if column.is_list else [values])
            ]
            unseen += sum(not known for _, known in found)
            sparse.append([number for number, _ in found])
        expected.append(reference.record(label, dense, sparse, [column.width for column in columns.sparse]))
    tables = [Strings.of(values) if values and isinstance(values[0], bytes) else values for values in dictionaries]
    encoder = RowEncoder(columns, Vocabulary(tables, columns), modulus)
    records, found_unseen = encoder.encode(raw_rows(columns, rows))
    assert records.tolist() == expected
    assert records.dtype == np.int32
    assert found_unseen == unseen


def small(**changes: Any) -> Columns:
    return Columns("click", (DenseColumn(name="d", **changes),), (SparseColumn(name="tag"),))


def test_vocabulary_of_other_columns_is_rejected() -> None:
    vocabulary = Vocabulary([[1]], Columns("click", (DenseColumn(name="d"),), (SparseColumn(name="x", kind="hex"),)))
    with pytest.raises(ConfigurationError, match="sparse column 0 is tag in the rows, but x in the vocabulary"):
        RowEncoder(small(), vocabulary)


def test_statistics_that_are_not_computed_are_named() -> None:
    columns = small(transform="standardize")
    with pytest.raises(ConfigurationError, match="Column d: mean and deviation"):
        RowEncoder(columns, Vocabulary([Strings.of([b"a"])], columns))


def test_unknown_labels_are_zeros() -> None:
    columns = small()
    rows = raw_rows(columns, [(1, 2, b"a")])
    unlabelled = type(rows)(None, rows.dense, rows.sparse)
    records, _ = RowEncoder(columns, Vocabulary([Strings.of([b"a"])], columns)).encode(unlabelled)
    assert records.tolist() == [[0, 2, 0]]
