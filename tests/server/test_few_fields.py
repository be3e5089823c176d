"""A few rows of raw values are read without Arrow, by the same rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.server.inputs import few_fields
from dlrm_pl.server.inputs.fields import FieldInputs
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.requests import InputTensor

COLUMNS = Columns(
    "click",
    (
        DenseColumn(name="count"),
        DenseColumn(name="price", type="float", transform="none"),
        DenseColumn(name="age", transform="standardize", mean=40.0, deviation=10.0),
    ),
    (
        SparseColumn(name="hex", kind="hex"),
        SparseColumn(name="user", kind="integer", ids="hash", rows=50),
        SparseColumn(name="shop", kind="integer", ids="modulo", rows=7),
        SparseColumn(name="word"),
    ),
)
WORDS = [b"caf\xc3\xa9", b"a b", b"0", b"w" * 300]
ENCODER = RowEncoder(COLUMNS, Vocabulary([np.arange(1 << 12), None, None, Strings.of(WORDS)], COLUMNS))


def tensor(datatype: str, values: Any) -> InputTensor:
    if datatype == "BYTES":
        texts = np.empty(len(values), object)
        texts[:] = values
        return InputTensor("", datatype, texts)
    kinds = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "UINT64": "<u8", "BOOL": "?"}
    return InputTensor("", datatype, np.array(values, kinds[datatype]))


PLAIN = {
    "count": tensor("INT32", [3, -2, 0]),
    "price": tensor("FP64", [0.1, np.nan, -1e30]),
    "age": tensor("BYTES", [b"30", b"", b"-7"]),
    "hex": tensor("BYTES", [b"00fF", None, b"ffffffff"]),
    "user": tensor("INT64", [-(2**62), 2**62, 0]),
    "shop": tensor("UINT64", [2**63 - 1, 8, 0]),
    "word": tensor("BYTES", [WORDS[0], None, b"unknown"]),
}


def found(inputs: dict[str, InputTensor]) -> Any:
    """Return the result of a request: its batch and unknown values, or the error."""
    try:
        batch, unseen = FieldInputs(ENCODER).batch(inputs, 100)
    except RequestError as error:
        return error.status, error.message
    return batch.dense.numpy().tobytes(), batch.indices.tolist(), unseen.tolist()


def by_arrow(inputs: dict[str, InputTensor], monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(few_fields, "FEW_ROWS", 0)
        return found(inputs)


@pytest.mark.parametrize(
    ("name", "datatype", "values"),
    [
        ("count", "FP32", [3, np.nan, -2]),
        ("count", "BYTES", [b"5", b"", b"-9"]),
        ("count", "INT64", [2**31 - 1, -(2**31), 0]),
        ("price", "BYTES", [b"0.1", b"-12", None]),
        ("price", "INT64", [2**53 + 1, 1, 2]),
        ("price", "FP32", [0.1, np.nan, 1e-45]),
        ("age", "FP64", [2.0**24 + 1, np.nan, 0]),
        ("hex", "INT64", [0, 255, 2**32 - 1]),
        ("user", "BYTES", [b"-5", None, b"123456789012345678"]),
        ("user", "FP64", [2.0**53 - 1, np.nan, -1]),
        ("user", "FP32", [2.0**24 - 1, np.nan, -1]),
        ("word", "BYTES", [b"", b"0", WORDS[3]]),
    ],
)
def test_plain_values_are_read_as_arrow_reads_them(
    monkeypatch: pytest.MonkeyPatch, name: str, datatype: str, values: Any
) -> None:
    inputs = PLAIN | {name: tensor(datatype, values)}
    assert few_fields.few_rows(inputs, COLUMNS) is not None
    result = found(inputs)
    assert isinstance(result[0], bytes)
    assert result == by_arrow(inputs, monkeypatch)


@pytest.mark.parametrize(
    ("name", "datatype", "values"),
    [
        ("count", "FP64", [1.5, 2, 3]),
        ("count", "INT64", [2**31, 0, 0]),
        ("count", "BYTES", [b"1_0", b"1", b"1"]),
        ("count", "BYTES", ["\u0663".encode(), b"1", b"1"]),
        ("count", "BOOL", [True, False, True]),
        ("price", "BYTES", [b"nan", b"1", b"1"]),
        ("price", "BYTES", [b"1e3", b"1", b"1"]),
        ("price", "FP64", [np.inf, 1, 1]),
        ("price", "FP64", [1e39, 1, 1]),
        ("age", "BYTES", [b"x", b"1", b"1"]),
        ("hex", "BYTES", [b"123456789", b"1", b"1"]),
        ("hex", "BYTES", [b"0x1", b"1", b"1"]),
        ("hex", "INT64", [-1, 1, 1]),
        ("hex", "FP64", [16, np.nan, 1]),
        ("user", "FP64", [2.0**53, 1, 1]),
        ("user", "FP32", [2.0**24, 1, np.nan]),
        ("user", "BYTES", [b"0xffffffffffffffff", b"1", b"1"]),
        ("user", "INT64", [-(2**63), 1, 1]),
        ("shop", "INT64", [-1, 1, 1]),
        ("word", "BYTES", [b"\xff", b"a", b"b"]),
        ("word", "INT64", [1, 2, 3]),
        ("word", "BYTES", [b"a", b"b"]),
    ],
)
def test_all_else_is_left_to_arrow(monkeypatch: pytest.MonkeyPatch, name: str, datatype: str, values: Any) -> None:
    inputs = PLAIN | {name: tensor(datatype, values)}
    assert few_fields.few_rows(inputs, COLUMNS) is None
    assert found(inputs) == by_arrow(inputs, monkeypatch)


@pytest.mark.parametrize("other", [1, np.nan])
def test_float_ids_that_may_have_been_rounded_are_refused(other: float) -> None:
    status, message = found(PLAIN | {"user": tensor("FP32", [2.0**24, 1, other])})
    assert status == 400
    assert "column user is 16777216.0; expected an integer from -16777215 to 16777215, because 32-bit" in message


def test_what_is_not_a_few_rows_of_plain_columns_is_left_to_arrow() -> None:
    assert few_fields.few_rows(PLAIN, COLUMNS) is not None
    assert few_fields.few_rows({name: PLAIN[name] for name in list(PLAIN)[1:]}, COLUMNS) is None
    many = {name: InputTensor("", item.datatype, np.resize(item.values, 65)) for name, item in PLAIN.items()}
    assert few_fields.few_rows(many, COLUMNS) is None
    none = {name: InputTensor("", item.datatype, item.values[:0]) for name, item in PLAIN.items()}
    assert few_fields.few_rows(none, COLUMNS) is None
    square = {name: InputTensor("", item.datatype, item.values[:, None]) for name, item in PLAIN.items()}
    assert few_fields.few_rows(square, COLUMNS) is None
    lists = replace(COLUMNS, sparse=(*COLUMNS.sparse[:3], replace(COLUMNS.sparse[3], at_most=3)))
    assert few_fields.few_rows(PLAIN, lists) is None
    indices = torch.tensor(found(PLAIN)[1])
    assert indices.shape == (4, 3)
