"""Columns of any kind, random records for them, and dataset folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, Records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings

MIXED = Columns(
    "bought",
    (
        DenseColumn(name="age"),
        DenseColumn(name="price", type="float", transform="standardize", mean=5.5, deviation=2.25),
        DenseColumn(name="delta", transform="none"),
        DenseColumn(name="weight", type="float"),
        DenseColumn(name="time", transform="standardize", mean=-3.0, deviation=100.0),
    ),
    (
        SparseColumn(name="code", kind="hex"),
        SparseColumn(name="tags", at_most=4, pooling="mean"),
        SparseColumn(name="pair", kind="integer", bag=2),
        SparseColumn(name="user", ids="hash", rows=50),
        SparseColumn(name="seen", kind="integer", ids="modulo", rows=7, at_most=3),
    ),
)
"""Every transform, kind, id method and kind of list."""


@st.composite
def any_columns(draw: st.DrawFn) -> Columns:
    """Columns with any transforms, ids and lists."""
    dense, sparse = [], []
    for number in range(draw(st.integers(1, 4))):
        transform: Any = draw(st.sampled_from(["log1p", "none", "standardize"]))
        numbers = {"mean": 0.5, "deviation": 3.0} if transform == "standardize" else {}
        kind: Any = draw(st.sampled_from(["integer", "float"]))
        dense.append(DenseColumn(name=f"d{number}", type=kind, transform=transform, **numbers))
    for number in range(draw(st.integers(1, 4))):
        ids: Any = draw(st.sampled_from(["vocabulary", "hash", "modulo"]))
        rows = None if ids == "vocabulary" else draw(st.integers(2, 9))
        length: Any = draw(st.sampled_from([{}, {"bag": 2}, {"at_most": 1}, {"at_most": 3, "pooling": "mean"}]))
        kind = draw(st.sampled_from(["hex", "integer"]))
        sparse.append(SparseColumn(name=f"s{number}", kind=kind, ids=ids, rows=rows, **length))
    return Columns("y", tuple(dense), tuple(sparse))


def sizes_of(columns: Columns, size: int = 6) -> list[int]:
    """Return the tables' numbers of rows, for columns that do not state them."""
    return [column.rows or size for column in columns.sparse]


def random_records(columns: Columns, rows: int, seed: int = 0) -> Records:
    """Return records that preprocessing could have written."""
    rng = np.random.default_rng(seed)
    records = np.empty((rows, columns.record_ints), np.int32)
    records[:, 0] = rng.integers(0, 2, rows)
    for field, column in enumerate(columns.dense, start=1):
        if column.holds_float:
            records[:, field] = (rng.standard_normal(rows) * 10).astype(np.float32).view(np.int32)
        else:
            records[:, field] = rng.integers(0 if column.transform == "log1p" else -1000, 1000, rows)
    for column_, size, fields in zip(columns.sparse, sizes_of(columns), columns.table_fields, strict=True):
        ids = rng.integers(0, size, (rows, column_.width))
        if column_.at_most is not None:
            ids[np.arange(column_.width) >= rng.integers(0, column_.width + 1, rows)[:, None]] = -1
        records[:, fields] = ids
    return records


def write_dataset(folder: Path, columns: Columns, rows: int = 300) -> DatasetFolder:
    """Write a dataset folder with random records and dictionaries."""
    folder.mkdir(exist_ok=True)
    values: list[Any] = []
    for column, size in zip(columns.sparse, sizes_of(columns), strict=True):
        plain = np.arange(1, size + 1)
        texts = Strings.of([f"text {number}".encode() for number in plain])
        values.append(None if column.ids != "vocabulary" else texts if column.kind == "string" else plain)
    Vocabulary(values, columns).save(folder)
    for seed, split in enumerate(SPLITS):
        random_records(columns, rows, seed).tofile(folder / split_file_name(split))
    return describe(folder, max_ind_range=-1, created_by="test", columns=columns)
