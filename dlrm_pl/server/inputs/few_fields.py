"""A few rows of plain values without Arrow, whose calls per column take milliseconds even for a single row.

Plain values are what clients usually send: integers, floats, numbers as text, strings, or nothing. All other values,
including invalid ones, are left to ``rows_of_frame``, which reads them by the same rules and reports what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawDense, RawRows, RawSparse
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.sources.arrays.numbers import exact_integers
from dlrm_pl.server.protocol.datatypes import BYTES
from dlrm_pl.server.protocol.requests import InputTensor

FEW_ROWS = 64
"""Number of rows up to which this is faster than Arrow."""

_INT32, _INT64 = np.iinfo(np.int32), np.iinfo(np.int64)
_RESERVED = 2  # The two smallest integers stand for missing and unseen values.
_MOST_HEX = (1 << 32) - 1
_EXACT = {"FP32": exact_integers(32), "FP64": exact_integers(64)}
_DIGITS = re.compile(rb"-?[0-9]{1,18}")
_HEX_DIGITS = re.compile(rb"[0-9a-fA-F]{1,8}")
_NUMBER = re.compile(rb"-?[0-9]{1,18}(\.[0-9]{1,18})?")


class _NotPlainError(Exception):
    """A value is not plain."""


def _exact(value: float, largest: int) -> int:
    if not abs(value) <= largest or not value.is_integer():
        raise _NotPlainError
    return int(value)


def _integer(text: bytes) -> int:
    if not _DIGITS.fullmatch(text):
        raise _NotPlainError
    return int(text)


def _hexadecimal(text: bytes) -> int:
    if not _HEX_DIGITS.fullmatch(text):
        raise _NotPlainError
    return int(text, 16)


def _float(text: bytes) -> float:
    if not _NUMBER.fullmatch(text):
        raise _NotPlainError
    return float(text)


def few_rows(inputs: Mapping[str, InputTensor], columns: Columns) -> RawRows | None:
    """Return the rows of a request; None if they are many, or if a value or column is not plain.

    Args:
        inputs: the tensors by name.
        columns: the columns to read.
    """
    rows = None
    every: list[DenseColumn | SparseColumn] = [*columns.dense, *columns.sparse]
    for column in every:
        tensor = inputs.get(column.name)
        if tensor is None or tensor.values.ndim != 1 or (isinstance(column, SparseColumn) and column.is_list):
            return None
        if rows is None:
            rows = len(tensor.values)
        if not 0 < rows <= FEW_ROWS or len(tensor.values) != rows:
            return None
    try:
        dense = tuple(_dense(inputs[column.name], column) for column in columns.dense)
        sparse = tuple(_sparse(inputs[column.name], column) for column in columns.sparse)
    except _NotPlainError:
        return None
    return RawRows(None, dense, sparse)


def _dense(tensor: InputTensor, column: DenseColumn) -> RawDense:
    if column.type == "integer":
        return RawDense(*_integers(tensor, _INT32.min, _INT32.max))
    values = _values(tensor, _float, whole=False)
    missing = _missing(values)
    wide = np.array([0.0 if value is None else value for value in values], np.float64)
    with np.errstate(over="ignore"):
        floats = wide.astype(np.float32)
    if not np.isfinite(floats).all():
        raise _NotPlainError
    return RawDense(floats, missing)


def _sparse(tensor: InputTensor, column: SparseColumn) -> RawSparse:
    if column.kind == "hex" and tensor.values.dtype.kind != "f":
        return RawSparse(*_integers(tensor, 0, _MOST_HEX, _hexadecimal))
    if column.kind == "integer":
        return RawSparse(*_integers(tensor, 0 if column.ids == "modulo" else _INT64.min + _RESERVED, _INT64.max))
    if column.kind != "string" or tensor.datatype != BYTES:
        raise _NotPlainError
    texts = [value or None for value in tensor.values.tolist()]
    try:
        for text in texts:
            if text is not None:
                text.decode()
    except UnicodeDecodeError:
        raise _NotPlainError from None
    return RawSparse(Strings.of([text or b"" for text in texts]), _missing(texts))


def _integers(
    tensor: InputTensor, low: int, high: int, parse: Callable[[bytes], int] = _integer
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]:
    values = _values(tensor, parse, whole=True)
    missing = _missing(values)
    numbers = [0 if value is None else value for value in values]
    if not low <= min(numbers) <= max(numbers) <= high:
        raise _NotPlainError
    return np.array(numbers, np.int64), missing


def _values(tensor: InputTensor, parse: Callable[[bytes], Any], *, whole: bool) -> list[Any]:
    """Return numbers, and None for missing ones."""
    values: list[Any] = tensor.values.tolist()
    if tensor.datatype == BYTES:
        return [parse(value) if value else None for value in values]
    if tensor.values.dtype.kind in "iu":
        return values
    largest = _EXACT.get(tensor.datatype)
    if largest is None:
        raise _NotPlainError
    values = [None if value != value else value for value in values]
    return [None if value is None else _exact(value, largest) for value in values] if whole else values


def _missing(values: list[Any]) -> npt.NDArray[np.bool_] | None:
    return np.array([value is None for value in values]) if None in values else None
