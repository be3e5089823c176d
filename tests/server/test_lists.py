"""Lists: their lengths are those of the model's columns, and an element that cannot be read is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.server.inputs.fields import FieldInputs
from dlrm_pl.server.inputs.tensors import TensorInputs
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.requests import InputTensor

COLUMNS = Columns(
    "click",
    (DenseColumn(name="n"),),
    (
        SparseColumn(name="three", kind="integer", ids="modulo", rows=50, bag=3),
        SparseColumn(name="some", kind="integer", ids="modulo", rows=50, at_most=2),
        SparseColumn(name="one", kind="integer", ids="modulo", rows=50),
    ),
)
ROWS = 2
DENSE = np.ones((ROWS, 1), np.float32)


def sent(**values: Any) -> dict[str, InputTensor]:
    types = {"f": "FP32", "i": "INT64", "O": "BYTES"}
    return {name: InputTensor(name, types[array.dtype.kind], array) for name, array in values.items()}


def bags(*lengths: int) -> dict[str, InputTensor]:
    """Return tensors of bags with the given numbers of ids, of each row of the first column, then of the second."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return sent(dense=DENSE, indices=np.arange(offsets[-1]), offsets=offsets)


@pytest.mark.parametrize("lengths", [(3, 3, 0, 2, 1, 1), (3, 3, 1, 0, 1, 1)])
def test_bags_of_the_lengths_of_the_columns_are_taken(lengths: tuple[int, ...]) -> None:
    batch = TensorInputs(1, [50] * 3, COLUMNS).batch(bags(*lengths), 10)
    assert batch.offsets is not None
    assert np.diff(batch.offsets.numpy()).tolist() == list(lengths)


@pytest.mark.parametrize(
    ("lengths", "error"),
    [
        ((3, 2, 1, 1, 1, 1), r"row 1 has 2 ids for table 0 \(three\), but the model takes exactly 3\."),
        ((0, 3, 1, 1, 1, 1), r"row 0 has 0 ids for table 0 \(three\), but the model takes exactly 3\."),
        ((3, 4, 1, 1, 1, 1), r"row 1 has 4 ids for table 0 \(three\), but the model takes exactly 3\."),
        ((3, 3, 1, 3, 1, 1), r"row 1 has 3 ids for table 1 \(some\), but the model takes at most 2\."),
        ((3, 3, 1, 1, 0, 1), r"row 0 has 0 ids for table 2 \(one\), but the model takes exactly 1\."),
    ],
)
def test_bags_of_other_lengths_are_refused(lengths: tuple[int, ...], error: str) -> None:
    with pytest.raises(RequestError, match=error) as refused:
        TensorInputs(1, [50] * 3, COLUMNS).batch(bags(*lengths), 10)
    assert refused.value.status == 400


def test_single_ids_are_refused_where_lists_have_several() -> None:
    single = sent(dense=DENSE, indices=np.zeros((ROWS, 3), np.int64))
    with pytest.raises(RequestError, match=r"row 0 has 1 id for table 0 \(three\), .* with the input 'offsets'"):
        TensorInputs(1, [50] * 3, COLUMNS).batch(single, 10)
    assert TensorInputs(1, [50] * 2, Columns("click", COLUMNS.dense, COLUMNS.sparse[1:])).batch(
        sent(dense=DENSE, indices=np.zeros((ROWS, 2), np.int64)), 10
    )


@pytest.mark.parametrize(
    ("name", "values", "place"),
    [
        ("three", np.array([[b"1", b"2", b"3"], [b"4", b"abc", b"6"]], object), r"row 1, element 1 \(both from 0\)"),
        ("one", np.array([b"1", b"abc"], object), r"row 1 \(from 0\)"),
        ("some", np.array([b"1", b"abc", b"3"], object), r"element 1 \(from 0\)"),
    ],
)
def test_text_that_is_no_number_is_named_with_its_column_and_row(name: str, values: Any, place: str) -> None:
    good = sent(
        n=np.ones(ROWS, np.float32),
        three=np.ones((ROWS, 3), np.int64),
        some=np.ones(3, np.int64),
        one=np.ones(ROWS, np.int64),
    ) | {"some.offsets": InputTensor("some.offsets", "INT64", np.array([0, 2, 3]))}
    inputs = FieldInputs(RowEncoder(COLUMNS, Vocabulary([None] * 3, COLUMNS)))
    assert inputs.batch(good, 10)
    with pytest.raises(RequestError, match=rf"input '{name}', {place}: 'abc' is not a whole number"):
        inputs.batch(good | sent(**{name: values}), 10)
