"""Arrays that do not fit together are refused before native code reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding import native
from dlrm_pl.data.decoding.array_layout import ArrayLayout, DayArrays
from dlrm_pl.data.decoding.decoder import rows_of
from dlrm_pl.errors import ShapeError

COLUMNS = Columns(
    "y",
    (DenseColumn(name="d", type="float", transform="none"),),
    (
        SparseColumn(name="a", kind="integer", ids="modulo", rows=5, bag=3),
        SparseColumn(name="b", kind="integer", ids="modulo", rows=9),
    ),
)


def layout(**changes: Any) -> ArrayLayout:
    arrays: dict[str, Any] = {
        "dense": np.zeros((4, 1), np.float32),
        "labels": np.zeros((4, 1), np.int32),
        "first": np.zeros((4, 1), np.int32),
        "second": np.zeros((4, 1), np.int32),
        "lookup": np.zeros((5, 2), np.int32),
    } | changes
    day = DayArrays(arrays["dense"], arrays["labels"], (arrays["first"], arrays["second"]))
    return ArrayLayout(COLUMNS, [5, 9], takes_remainder=True, days=[day], lookup=[arrays["lookup"], None])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dense": np.zeros((4, 2), np.float32)}, r"dense: shape \[rows, 1\] is needed, got float32 \[4, 2\]"),
        ({"dense": np.zeros((4, 1), np.float64)}, "dense: .* got float64"),
        ({"labels": np.zeros((3, 1), np.int32)}, "There are 3 labels of 4 rows"),
        ({"labels": np.zeros((4, 1), np.int64)}, "labels: .* got int64"),
        ({"first": np.zeros((4, 3), np.int32)}, "ids of table 0: .* got int32"),
        ({"second": np.zeros((3, 1), np.int32)}, "ids of table 1: 4 rows are needed, got 3"),
        ({"second": np.broadcast_to(np.zeros((1, 1), np.int32), (4, 1))}, "the rows must follow each other"),
        ({"lookup": np.zeros((4, 2), np.int32)}, r"lookup table 0: .* got int32 \[4, 2\]"),
        ({"lookup": np.zeros((5, 3), np.int32)}, "lookup table 0"),
        ({"lookup": None}, r"ids of table 0: shape \[rows, 3\] is needed"),
    ],
)
def test_misfits_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        layout(**changes)


@pytest.mark.skipif(native.library() is None, reason="the native code was not built")
@pytest.mark.parametrize("selection", [slice(0, 5), slice(-1, 2), np.array([4]), np.array([-1]), np.array([2**62])])
def test_rows_outside_the_days_are_refused(selection: Any) -> None:
    library = native.library()
    assert library is not None
    with pytest.raises(ShapeError, match="a row is not in the files"):
        layout().decode(library, rows_of([slice(0, 2), selection]), pin_memory=False)
