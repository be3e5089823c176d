"""A dataset with many kinds of columns, and raw values of rows for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings

COLUMNS = Columns(
    "click",
    (
        DenseColumn(name="age"),
        DenseColumn(name="price", type="float", transform="standardize", mean=2.0, deviation=4.0),
        DenseColumn(name="delta", transform="none"),
    ),
    (
        SparseColumn(name="city"),
        SparseColumn(name="tags", at_most=3, pooling="mean"),
        SparseColumn(name="user", kind="integer", ids="hash", rows=50),
        SparseColumn(name="code", kind="hex"),
    ),
)
TABLES: list[Any] = [
    Strings.of(["東京".encode(), b"Rome", b"\xff"]),
    Strings.of([b"new", b"sale"]),
    None,
    [7, 0],
]
VALUES: dict[str, list[Any]] = {
    "age": [3, None, -2],
    "price": [4.0, None, 2.0],
    "delta": [-5, None, 7],
    "city": ["Rome", None, "nowhere"],
    "tags": [["sale", "new"], None, []],
    "user": [12, None, -12],
    "code": ["7", None, "ff"],
    "other": ["x", "y", "z"],
}


def write_folder(folder: Path, columns: Columns = COLUMNS, tables: Sequence[Any] = TABLES) -> DatasetFolder:
    """Write a dataset with these columns and two rows in each split."""
    folder.mkdir()
    Vocabulary(tables, columns).save(folder)
    for split in SPLITS:
        records = np.zeros((2, columns.record_ints), "<i4")
        records[1, 0] = 1
        records.tofile(folder / split_file_name(split))
    return describe(folder, max_ind_range=5, created_by="a test", columns=columns)
