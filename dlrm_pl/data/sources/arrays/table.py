"""A table of Arrow arrays as ``RawRows``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.raw_rows import RawDense, RawRows, RawSparse
from dlrm_pl.data.sources.arrays.field import Field
from dlrm_pl.data.sources.arrays.lists import elements
from dlrm_pl.data.sources.arrays.numbers import floats, integers
from dlrm_pl.data.sources.arrays.texts import hexadecimals, strings
from dlrm_pl.data.sources.arrays.types import is_text, simple
from dlrm_pl.data.sources.bad_rows import Faults
from dlrm_pl.data.sources.library import arrow

if TYPE_CHECKING:
    import pyarrow as pa

Labels = Literal["needed", "optional", "absent"]
"""Labels of the rows: 0 or 1; 0, 1 or null, which is read as 0; or there are none."""

_WORDS = ["false", "true", "False", "True", "FALSE", "TRUE"]
_INT32 = np.iinfo(np.int32)
_INT64 = np.iinfo(np.int64)
_RESERVED = 2  # The smallest integers stand for missing and for unseen values.


def convert(
    arrays: Mapping[str, pa.Array],
    columns: Columns,
    faults: Faults,
    *,
    labels: Labels = "needed",
    truncate_lists: bool = False,
) -> tuple[RawRows, int]:
    """Convert arrays, given by name, whose types have been checked.

    Args:
        arrays: the arrays of the columns.
        columns: the columns.
        faults: collects the bad rows.
        labels: whether the rows must have labels.
        truncate_lists: whether to truncate lists that are longer than ``at_most``; otherwise, their rows are bad.

    Returns:
        The rows, in which the values of bad rows are arbitrary, and the number of lists that were truncated.
    """
    label = None if labels == "absent" else _label(arrays[columns.label], Field(columns.label, faults), labels)
    dense = tuple(_dense(arrays[column.name], column, faults) for column in columns.dense)
    sparse, cut_lists = [], 0
    for column in columns.sparse:
        values, cut = _sparse(arrays[column.name], column, faults, truncate_lists)
        sparse.append(values)
        cut_lists += cut
    return RawRows(label, dense, tuple(sparse)), cut_lists


def _label(array: pa.Array, field: Field, labels: Labels) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    array = simple(array)
    own = Faults(len(array))
    values, missing = integers(_with_digits(array), Field(field.name, own), 0, 1)
    wrong = np.zeros(len(array), np.bool_) if own.good is None else ~own.good
    field.refuse(wrong, "label", "0 or 1", array)
    if missing is not None:
        if labels == "needed":
            field.refuse(missing, "null", "0 or 1", array)
        values = np.where(missing, 0, values)
    return values.astype(np.int32)


def _with_digits(array: pa.Array) -> pa.Array:
    """Return labels with 0 and 1 instead of false and true, which other programs write to CSV files."""
    if not is_text(array.type):
        return array
    pa = arrow()
    words = pa.compute.index_in(array, value_set=pa.array(_WORDS, array.type))
    if words.null_count == len(words):
        return array
    digits = pa.array(["0", "1"] * (len(_WORDS) // 2), array.type)
    return pa.compute.coalesce(digits.take(words), array)


def _dense(array: pa.Array, column: DenseColumn, faults: Faults) -> RawDense:
    field = Field(column.name, faults)
    if column.type == "float":
        return RawDense(*floats(simple(array), field))
    return RawDense(*integers(simple(array), field, _INT32.min, _INT32.max, may_be_rounded=True))


def _sparse(array: pa.Array, column: SparseColumn, faults: Faults, truncate: bool) -> tuple[RawSparse, int]:
    array, field = simple(array), Field(column.name, faults)
    offsets, cut = None, 0
    if column.is_list:
        array, offsets, owners, cut = elements(array, column, field, truncate=truncate)
        field = Field(column.name, faults, owners)
    if column.kind == "string":
        return RawSparse(*strings(array, field), offsets), cut
    if column.kind == "hex":
        return RawSparse(*hexadecimals(array, field), offsets), cut
    values, missing = integers(array, field, _INT64.min + _RESERVED, _INT64.max)
    if column.ids == "modulo":
        negative = values < 0
        if missing is not None:
            negative &= ~missing
        field.refuse(negative, "negative", "an integer of 0 or more, since its id is a remainder", array)
    return RawSparse(values, missing, offsets), cut
