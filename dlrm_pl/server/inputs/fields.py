"""Rows as raw values, one input per column, with ids from the artifact's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.batch import ClickBatch, to_batch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns, nearest_name
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.sources.frame import rows_of_frame
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import DLRMError
from dlrm_pl.server.inputs.few_fields import few_rows
from dlrm_pl.server.inputs.tensors import check_rows
from dlrm_pl.server.protocol.datatypes import BYTES
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.requests import InputTensor

_OFFSETS = ".offsets"


class FieldInputs:
    """Columns that a model takes.

    Args:
        encoder: maps raw values to ids.
    """

    def __init__(self, encoder: RowEncoder) -> None:
        self._encoder = encoder
        columns = encoder.columns
        every: list[DenseColumn | SparseColumn] = [*columns.dense, *columns.sparse]
        self._columns = {column.name: column for column in every}
        lists = [column.name for column in columns.sparse if column.at_most is not None]
        self._names = (*self._columns, *(f"{name}{_OFFSETS}" for name in lists))

    def metadata(self) -> list[dict[str, Any]]:
        """Return the columns in the protocol's tensor metadata format."""
        return [item for column in self._columns.values() for item in _metadata(column)]

    def batch(self, inputs: Mapping[str, InputTensor], max_rows: int) -> tuple[ClickBatch, npt.NDArray[np.int64]]:
        """Return the batch of a request, and the number of unknown values in each sparse column.

        Raises:
            RequestError: a column is missing, unknown or of the wrong type, or a value does not fit it.
        """
        columns: Columns = self._encoder.columns
        for name in inputs:
            # The label is ignored, so that rows of a log can be sent unchanged.
            if name not in self._names and name != columns.label:
                raise RequestError(400, f"There is no input {shown(name)}. {nearest_name(name, self._names)}")
        if (few := few_rows(inputs, columns)) is not None:
            check_rows(few.num_rows, max_rows)
            records, unseen = self._encoder.encode_counted(few)
            return to_batch(records, columns), unseen
        frame = {name: self._values(column, inputs) for name, column in self._columns.items() if name in inputs}
        for values in frame.values():
            check_rows(len(values), max_rows)
        try:
            rows = rows_of_frame(frame, columns, labels="absent")
            records, unseen = self._encoder.encode_counted(rows)
        except DLRMError as error:
            raise RequestError(400, str(error).replace("the frame", "the request")) from None
        return to_batch(records, columns), unseen

    def _values(self, column: DenseColumn | SparseColumn, inputs: Mapping[str, InputTensor]) -> Any:
        """Return the values of a column in a form that data frames have."""
        tensor = inputs[column.name]
        values = tensor.values
        where = f"input {shown(column.name)}"
        if values.ndim > 1 and values.shape[-1] == 1 and not _is_list(column):
            values = values.reshape(len(values))
        if values.ndim != 1 and not (values.ndim == 2 and _is_list(column)):
            raise RequestError(400, f"{where}: the shape is {list(tensor.values.shape)}, but must be [rows].")
        if tensor.datatype == BYTES:
            plain = _in_shape(_texts(values, column, where), values)
        elif values.dtype.kind == "f" and np.isnan(values).any():
            # Values keep their type, which tells how large integers may be.
            plain = _in_shape([None if np.isnan(value) else value for value in values.reshape(-1)], values)
        else:
            plain = values
        offsets = inputs.get(f"{column.name}{_OFFSETS}")
        if offsets is None:
            if values.ndim == 1 and _is_list(column):
                raise RequestError(
                    400,
                    (
                        f"{where}: the column has lists, so the shape must be [rows, elements], or [elements] with "
                        f"{column.name}.offsets."
                    ),
                )
            return plain
        return _cut(plain, offsets, where)


def _metadata(column: DenseColumn | SparseColumn) -> list[dict[str, Any]]:
    if isinstance(column, DenseColumn):
        return [{"name": column.name, "datatype": "FP32" if column.type == "float" else "INT64", "shape": [-1]}]
    datatype = "INT64" if column.kind == "integer" else BYTES
    if not _is_list(column):
        return [{"name": column.name, "datatype": datatype, "shape": [-1]}]
    if column.at_most is None:
        return [{"name": column.name, "datatype": datatype, "shape": [-1, column.bag]}]
    return [
        {"name": column.name, "datatype": datatype, "shape": [-1]},
        {"name": f"{column.name}{_OFFSETS}", "datatype": "INT64", "shape": [-1]},
    ]


def _is_list(column: DenseColumn | SparseColumn) -> bool:
    return isinstance(column, SparseColumn) and column.is_list


def _in_shape(found: list[Any], values: npt.NDArray[Any]) -> Any:
    """Return values as they are, or as lists if the tensor has rows of several elements."""
    if values.ndim == 1:
        return found
    width = values.shape[1]
    return [found[at : at + width] for at in (range(0, values.size, width) if width else range(0))]


def _texts(values: npt.NDArray[Any], column: DenseColumn | SparseColumn, where: str) -> list[Any]:
    """Return the values of byte strings ``[rows]``, ``[rows, elements]`` or, with offsets, ``[elements]``.

    Raises:
        RequestError: one cannot be read; it is named with its row or element.
    """
    found = []
    for number, value in enumerate(values.reshape(-1).tolist()):
        try:
            found.append(_decoded(value, column))
        except ValueError as error:
            if values.ndim == 2:
                row, element = divmod(number, values.shape[1])
                place = f"row {row}, element {element} (both from 0)"
            else:
                place = f"{'element' if _is_list(column) else 'row'} {number} (from 0)"
            raise RequestError(400, f"{where}, {place}: {error}") from None
    return found


def _decoded(value: bytes | None, column: DenseColumn | SparseColumn) -> Any:
    """Return a text, or its number if the column holds numbers; None if it is empty.

    Raises:
        ValueError: it is neither.
    """
    if not value:
        return None
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{shown(value)} is not UTF-8 text.") from None
    if isinstance(column, SparseColumn) and column.kind != "integer":
        return text
    whole = isinstance(column, SparseColumn) or column.type == "integer"
    try:
        return int(text) if whole and len(text) <= 20 else float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a {'whole ' if whole else ''}number.") from None


def _cut(values: Any, offsets: InputTensor, where: str) -> list[Any]:
    """Split the values of a column into one list per row."""
    ends = offsets.values
    if offsets.datatype not in ("INT64", "INT32") or ends.ndim != 1 or not len(ends):
        raise RequestError(400, f"{where}: its offsets must be INT64 of shape [rows + 1].")
    if ends[0] != 0 or ends[-1] != len(values) or (np.diff(ends) < 0).any():
        raise RequestError(
            400,
            f"{where}: its offsets must begin with 0, never decrease, and end with {len(values)}, the number of "
            "its elements.",
        )
    return [values[first:last] for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
