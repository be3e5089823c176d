"""Rows of plain values in the form that a source returns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawDense, RawRows, RawSparse
from dlrm_pl.data.lookup.strings import Strings


def raw_rows(columns: Columns, rows: Sequence[Sequence[Any]]) -> RawRows:
    """Return rows of (label, dense values, sparse values); None is a missing value, and lists are lists."""
    label = np.array([row[0] for row in rows], np.int32)
    fields = list(zip(*(row[1:] for row in rows), strict=True))
    dense, sparse = [], []
    for column, values in zip(columns.dense, fields, strict=False):
        dtype = np.float32 if column.type == "float" else np.int64
        array = np.array([77 if value is None else value for value in values], dtype)  # 77 is arbitrary.
        dense.append(RawDense(array, _missing(values)))
    for spec, values in zip(columns.sparse, fields[columns.num_dense :], strict=True):
        offsets, elements = None, list(values)
        if spec.is_list:
            offsets = np.array([0, *accumulate(map(len, values))], np.int64)
            elements = [element for value in values for element in value]
        plain: Strings | np.ndarray[Any, Any]
        if spec.kind == "string":
            plain = Strings.of([b"nothing" if element is None else element for element in elements])
        else:
            plain = np.array([77 if element is None else element for element in elements], np.int64)
        sparse.append(RawSparse(plain, _missing(elements), offsets))
    return RawRows(label, tuple(dense), tuple(sparse))


def _missing(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    missing = np.array([value is None for value in values], np.bool_)
    return missing if missing.any() else None
