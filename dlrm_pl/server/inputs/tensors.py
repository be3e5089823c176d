"""Rows as tensors of dense values and ids: one-hot, or bags with offsets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlrm_pl.arrays import dense_tensor
from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.fields import shown
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.requests import InputTensor

DENSE, INDICES, OFFSETS = "dense", "indices", "offsets"
_ZERO, _ONE = np.float32(0), np.float32(1)
_DATATYPES = {DENSE: ("FP32",), INDICES: ("INT64", "INT32"), OFFSETS: ("INT64", "INT32")}

Integers = npt.NDArray[np.int64]


class UnreadRows:
    """One-hot rows of a request, with correct types and shapes, whose values are yet to be read.

    Reading takes as many calls for one row as for hundreds, so requests that are scored together are read together.
    Until then, the request's memory is kept.

    Args:
        reader: reads the rows.
        dense: float32 ``[B, N]``.
        ids: int64 or int32 ``[B, T]``.
    """

    offsets = None
    """Same attribute as that of a one-hot ``ClickBatch``."""

    def __init__(self, reader: TensorInputs, dense: npt.NDArray[np.float32], ids: npt.NDArray[Any]) -> None:
        self.reader = reader
        self.dense = dense
        self.ids = ids

    @property
    def num_samples(self) -> int:
        """Number of rows B."""
        return len(self.dense)

    @staticmethod
    def read(parts: Sequence[UnreadRows]) -> ClickBatch:
        """Return the rows of several requests for one model, one after the other.

        Raises:
            RequestError: a value is invalid; the row number in the message counts the rows of all parts.
        """
        dense, ids = np.concatenate([part.dense for part in parts]), np.concatenate([part.ids for part in parts])
        return parts[0].reader.read(dense, ids)


class TensorInputs:
    """Tensors that a model takes.

    Args:
        num_dense: dense features N.
        table_sizes: rows of each of the T tables.
        columns: columns of the rows, whose transforms are applied to the dense values; None: ``log(x + 1)``.
    """

    def __init__(self, num_dense: int, table_sizes: Sequence[int], columns: Columns | None) -> None:
        self._num_dense = num_dense
        self._columns = columns
        self._has_lists = columns is not None and not columns.is_one_hot
        self._lengths = _lengths(columns) if columns is not None and self._has_lists else None
        # Unsigned, so that one comparison also finds negative ids, which become large.
        self._sizes = np.array(table_sizes, np.uint64)
        self._column_of_sizes = self._sizes[:, None]
        self._takes_log = columns is None or all(column.transform == "log1p" for column in columns.dense)

    def metadata(self) -> list[dict[str, Any]]:
        """Return the tensors in the protocol's metadata format."""
        dense = {"name": DENSE, "datatype": "FP32", "shape": [-1, self._num_dense]}
        if self._has_lists:
            names = (INDICES, OFFSETS)
            return [dense, *({"name": name, "datatype": "INT64", "shape": [-1]} for name in names)]
        return [dense, {"name": INDICES, "datatype": "INT64", "shape": [-1, len(self._sizes)]}]

    def batch(self, inputs: Mapping[str, InputTensor], max_rows: int) -> ClickBatch | UnreadRows:
        """Return the batch of a request, with all ids inside their tables; or one-hot rows that are yet to be read.

        Raises:
            RequestError: a tensor is missing, of the wrong type or shape, or has invalid values.
        """
        for name in (DENSE, INDICES):
            if name not in inputs:
                raise RequestError(400, f"The input {name!r} is missing: the model takes {self._wanted()}.")
        for name, tensor in inputs.items():
            if tensor.datatype not in _DATATYPES[name]:
                wanted = " or ".join(_DATATYPES[name])
                raise RequestError(400, f"input {name!r}: the datatype is {tensor.datatype}, but must be {wanted}.")
        dense, ids = inputs[DENSE].values, inputs[INDICES].values
        if dense.ndim != 2 or dense.shape[1] != self._num_dense:
            raise RequestError(
                400, f"input 'dense': the shape is {list(dense.shape)}, but must be [rows, {self._num_dense}]."
            )
        check_rows(len(dense), max_rows)
        if OFFSETS in inputs:
            features = self._features(dense)
            indices, offsets = self._bags(len(dense), ids, inputs[OFFSETS].values)
            return ClickBatch(features, torch.from_numpy(indices), torch.from_numpy(offsets))
        if ids.shape != (len(dense), len(self._sizes)):
            raise RequestError(
                400,
                f"input 'indices': the shape is {list(ids.shape)}, but must be [{len(dense)}, {len(self._sizes)}], "
                "one id for each row of 'dense' and each table. Bags of several ids have the shape [ids] and the "
                "input 'offsets'.",
            )
        if self._lengths is not None:
            self._check_lengths(np.ones((len(self._sizes), len(dense)), np.int64))
        return UnreadRows(self, dense, ids)

    def read(self, dense: npt.NDArray[np.float32], ids: npt.NDArray[Any]) -> ClickBatch:
        """Return the batch of one-hot rows ``[B, N]`` and ``[B, T]``.

        Raises:
            RequestError: a value is invalid.
        """
        return ClickBatch(self._features(dense), torch.from_numpy(self._one_hot(ids)))

    def _features(self, dense: npt.NDArray[np.float32]) -> torch.Tensor:
        """Return dense values as the features that the model reads."""
        # Three calls instead of the ten in dense_tensor, which take longer than the lookups for a one-row request.
        if self._takes_log:
            values = np.fmax(dense, _ZERO)
            values += _ONE
            features = torch.from_numpy(np.log(values, values))
        else:
            values, features = dense, dense_tensor(dense, self._columns, True)
        # Search for an infinite value only if the sum is not finite, which is rare.
        if not math.isfinite(np.add.reduce(values, None)) and np.isinf(dense).any():
            row, feature = np.argwhere(np.isinf(dense))[0]
            raise RequestError(
                400,
                f"input 'dense': feature {feature} of row {row} is infinite. Give a number; NaN, or null in JSON, "
                "stands for a missing value.",
            )
        return features

    def _wanted(self) -> str:
        return ", ".join(f"{item['name']} {item['datatype']} {item['shape']}" for item in self.metadata())

    def _one_hot(self, ids: npt.NDArray[Any]) -> Integers:
        """Return int64 ``[T, B]`` of ids ``[B, T]``."""
        # Always copy, so that the request's memory is not kept while the row waits.
        turned = np.array(ids.T, np.int64, order="C")
        wrong = turned.view(np.uint64) >= self._column_of_sizes
        if np.logical_or.reduce(wrong, None):
            row, table = np.argwhere(wrong.T)[0]
            self._refuse(int(ids[row, table]), f"row {row}", int(table))
        return turned

    def _bags(self, rows: int, ids: npt.NDArray[Any], ends: npt.NDArray[Any]) -> tuple[Integers, Integers]:
        """Return the ids ``[L]`` and offsets ``[T * B + 1]`` of bags, all of table 0 first."""
        tables = len(self._sizes)
        needed = tables * rows + 1
        if ids.ndim != 1 or ends.shape != (needed,):
            raise RequestError(
                400,
                f"inputs 'indices' and 'offsets': the shapes are {list(ids.shape)} and {list(ends.shape)}, but must be "
                f"[ids] and [{needed}], that is {tables} tables times {rows} rows, plus 1.",
            )
        offsets = np.array(ends, np.int64)
        if offsets[0] != 0 or offsets[-1] != len(ids) or (np.diff(offsets) < 0).any():
            raise RequestError(
                400, f"input 'offsets': must begin with 0, never decrease, and end with {len(ids)}, the number of ids."
            )
        if self._lengths is not None:
            self._check_lengths(np.diff(offsets).reshape(tables, rows))
        indices = np.array(ids, np.int64)
        unsigned = indices.view(np.uint64)
        bounds = offsets[:: max(rows, 1)] if rows else np.zeros(tables + 1, np.int64)
        for table in range(tables):
            part = unsigned[bounds[table] : bounds[table + 1]]
            if part.size and part.max() >= self._sizes[table]:
                place = int(bounds[table]) + int(np.argmax(part >= self._sizes[table]))
                self._refuse(int(indices[place]), f"element {place}", table)
        return indices, offsets

    def _check_lengths(self, lengths: Integers) -> None:
        """Refuse bags ``[T, B]`` with other numbers of ids than the columns of the model say."""
        assert self._columns is not None
        assert self._lengths is not None
        least, most = self._lengths
        wrong = (lengths < least) | (lengths > most)
        if not wrong.any():
            return
        row, table = (int(place) for place in np.argwhere(wrong.T)[0])
        column = self._columns.sparse[table]
        wanted = f"exactly {column.bag}" if column.at_most is None else f"at most {column.at_most}"
        found = int(lengths[table, row])
        raise RequestError(
            400,
            f"row {row} has {found} {'id' if found == 1 else 'ids'} for table {table} ({shown(column.name)[1:-1]}), "
            f"but the model takes {wanted}. Send bags as 'indices' of shape [ids], with the input 'offsets'.",
        )

    def _refuse(self, value: int, where: str, table: int) -> None:
        name = "" if self._columns is None else f" ({shown(self._columns.sparse[table].name)[1:-1]})"
        raise RequestError(
            400,
            f"input 'indices': {where} has the id {value} for table {table}{name}, which has ids 0 to "
            f"{int(self._sizes[table]) - 1}. Ids are those of the dictionaries of the model's dataset.",
        )


def _lengths(columns: Columns) -> tuple[Integers, Integers]:
    """Return the smallest and largest number of ids in a bag of each column, int64 ``[T, 1]``."""
    least = [column.bag if column.at_most is None else 0 for column in columns.sparse]
    most = [column.bag if column.at_most is None else column.at_most for column in columns.sparse]
    return np.array(least)[:, None], np.array(most)[:, None]


def check_rows(rows: int, most: int) -> None:
    """Check the number of rows in a request.

    Raises:
        RequestError: there are too many.
    """
    if rows > most:
        raise RequestError(413, f"The request has {rows:,} rows, more than {most:,}. Send them in several requests.")
