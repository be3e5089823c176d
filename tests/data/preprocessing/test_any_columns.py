"""Logs with any columns become the same records as with the slow reference."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import DataFormatError
from tests.reference.click_logs import dictionaries
from tests.support.examples import examples
from tests.support.logs.click_tables import write_parquet
from tests.support.logs.row_logs import check

_TEXT = st.one_of(st.sampled_from(["", "a", "ä", "東京", "\U0001f525", "a" * 40]), st.text(max_size=5))
_INTEGER = st.one_of(st.integers(-3, 3), st.integers(-(2**63) + 2, 2**63 - 1))
_HEX = st.integers(0, 2**32 - 1).map(lambda value: f"{value:x}") | st.sampled_from(["0", "00a", "FF"])
_ARROW = {"string": pa.string(), "integer": pa.int64(), "hex": pa.string()}


@st.composite
def sparse_columns(draw: st.DrawFn, name: str) -> SparseColumn:
    kind = draw(st.sampled_from(["hex", "integer", "string"]))
    ids = draw(st.sampled_from(["vocabulary", "vocabulary", "hash", "modulo"]))
    ids = "hash" if (kind, ids) == ("string", "modulo") else ids
    rows = None if ids == "vocabulary" else draw(st.integers(2, 9))
    bag = draw(st.sampled_from([{}, {}, {"bag": 2}, {"at_most": 1}, {"at_most": 3, "pooling": "mean"}]))
    return SparseColumn(name=name, kind=kind, ids=ids, rows=rows, **bag)  # type: ignore[arg-type]


@st.composite
def dense_columns(draw: st.DrawFn, name: str) -> DenseColumn:
    type_, transform = (
        draw(st.sampled_from(["integer", "float"])),
        draw(st.sampled_from(["log1p", "none", "standardize"])),
    )
    return DenseColumn(name=name, type=type_, transform=transform)  # type: ignore[arg-type]


@st.composite
def logs(draw: st.DrawFn) -> tuple[Columns, list[list[dict[str, Any]]]]:
    """Columns, and the rows of two or three days."""
    dense = tuple(draw(dense_columns(f"D{number}")) for number in range(draw(st.integers(1, 3))))
    sparse = tuple(draw(sparse_columns(f"S{number}")) for number in range(draw(st.integers(1, 4))))
    columns = Columns("label", dense, sparse)
    values: dict[str, st.SearchStrategy[Any]] = {"label": st.integers(0, 1)}
    for column in dense:
        number = st.integers(-(2**31), 2**31 - 1) if column.type == "integer" else st.floats(-1e6, 1e6, width=32)
        values[column.name] = st.none() | st.integers(0, 3) | number
    for sparse_column in sparse:
        element = {"hex": _HEX, "integer": _INTEGER, "string": _TEXT}[sparse_column.kind]
        if sparse_column.ids == "modulo" and sparse_column.kind == "integer":
            element = st.integers(0, 2**63 - 1)
        element = st.none() | element
        if sparse_column.is_list:
            least = sparse_column.bag if sparse_column.at_most is None else 0
            element = st.none() | st.lists(element, min_size=least, max_size=sparse_column.width)
        values[sparse_column.name] = element
    row = st.fixed_dictionaries(values)
    days = draw(st.lists(st.lists(row, min_size=2, max_size=8), min_size=2, max_size=3))
    return columns, days


def schema_of(columns: Columns) -> pa.Schema:
    fields = [(columns.label, pa.int8())]
    fields += [(column.name, pa.float64() if column.type == "float" else pa.int64()) for column in columns.dense]
    for column in columns.sparse:
        type_ = _ARROW[column.kind]
        fields.append((column.name, pa.list_(type_) if column.is_list else type_))
    return pa.schema(fields)


@settings(deadline=None, max_examples=examples(20))
@given(log=logs(), rule=st.sampled_from(["reference", "train_only"]), least=st.integers(1, 2))
def test_records_are_those_of_the_reference(
    log: tuple[Columns, list[list[dict[str, Any]]]], rule: Any, least: int
) -> None:
    columns, days = log
    options = PreprocessOptions(
        columns=columns,
        split_by="files",
        vocabulary=rule,
        min_count=least if rule == "train_only" else 1,
        randomize="none",
        max_ind_range=-1,
        workers=1,
    )
    with tempfile.TemporaryDirectory() as temporary:
        tables = [pa.Table.from_pylist(day, schema_of(columns)) for day in days]
        raw = write_parquet(tables, Path(temporary) / "raw")
        if rule == "reference" and [] in dictionaries(asdict(columns), [row for day in days for row in day]):
            with pytest.raises(DataFormatError, match="all its lists are empty"):
                preprocess(raw, Path(temporary) / "out", options)
        else:
            check(preprocess(raw, Path(temporary) / "out", options).folder, days, options)
