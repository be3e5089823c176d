"""Tensors whose values are in the JSON of a request, flat or nested like the shape."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.documents.fields import shown
from dlrm_pl.server.protocol.datatypes import BYTES, NUMPY_TYPES
from dlrm_pl.server.protocol.errors import RequestError

_NULL = type(None)
# null is a missing value, if the array can hold one.
_KINDS: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "u": ({int}, "whole numbers"),
    "i": ({int}, "whole numbers"),
    "f": ({int, float, _NULL}, "numbers"),
}


def json_array(data: list[Any], datatype: str, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    """Return the values of a tensor.

    Args:
        data: values of the tensor, in a flat or nested list.
        datatype: datatype of the tensor.
        shape: shape of the tensor.
        name: name of the tensor, for messages.

    Returns:
        An array of that shape; for BYTES, an object array of ``bytes`` and None.

    Raises:
        RequestError: the values do not have the datatype, or their number does not match the shape.
    """
    where = f"input {shown(name)}"
    values = _flat(data, shape, where)
    if len(values) != math.prod(shape):
        raise RequestError(
            400, f"{where}: shape {list(shape)} has {math.prod(shape):,} values, but data has {len(values):,}."
        )
    found = set(map(type, values))
    if datatype == BYTES:
        if not found <= {str, _NULL}:
            raise RequestError(
                400, f"{where}: data of type BYTES must be strings or null, not {_first(values, {str, _NULL})}."
            )
        texts = np.empty(len(values), object)
        texts[:] = [value if value is None else value.encode() for value in values]
        return texts.reshape(shape)
    dtype = NUMPY_TYPES[datatype]
    kinds, words = _KINDS[dtype.kind]
    if not found <= kinds:
        raise RequestError(400, f"{where}: data of type {datatype} must be {words}, not {_first(values, kinds)}.")
    try:
        if dtype.kind != "f":
            return np.array(values, dtype).reshape(shape)
        numbers = np.array(values, np.float64)
    except OverflowError:
        raise RequestError(400, f"{where}: data has a number outside the range of {datatype}.") from None
    with np.errstate(over="ignore"):
        return numbers.astype(dtype).reshape(shape)


def _flat(data: list[Any], shape: tuple[int, ...], where: str) -> list[Any]:
    """Return the values of nested lists as one flat list; lists must be nested like the shape, or not at all."""
    level = 0
    while data and type(data[0]) is list:
        level += 1
        wanted = shape[level] if level < len(shape) else None
        if set(map(type, data)) != {list} or set(map(len, data)) != {wanted}:
            raise RequestError(
                400, f"{where}: the nesting of the lists in data does not match the shape {list(shape)}."
            )
        data = list(chain.from_iterable(data))
    return data


def _first(values: list[Any], kinds: set[type]) -> str:
    return shown(next(value for value in values if type(value) not in kinds))
