"""Tensors of raw bytes, which follow the JSON of a request or a response."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.documents.fields import shown
from dlrm_pl.server.protocol.datatypes import BYTES, NUMPY_TYPES
from dlrm_pl.server.protocol.errors import RequestError


def binary_array(
    body: bytes, start: int, size_bytes: int, datatype: str, shape: tuple[int, ...], name: str
) -> npt.NDArray[Any]:
    """Return the values of a binary tensor; numbers are a view of the body, which must not change.

    Args:
        body: body of the request.
        start: position of the tensor's first byte.
        size_bytes: length of the tensor, which must be within the body.
        datatype: datatype of the tensor.
        shape: shape of the tensor.
        name: name of the tensor, for messages.

    Raises:
        RequestError: the bytes do not contain as many values as the shape.
    """
    count = math.prod(shape)
    if datatype == BYTES:
        return _texts(body, start, start + size_bytes, count, name).reshape(shape)
    dtype = NUMPY_TYPES[datatype]
    if count * dtype.itemsize != size_bytes:
        raise RequestError(
            400,
            f"input {shown(name)}: {datatype} of shape {list(shape)} has {count * dtype.itemsize:,} bytes, but "
            f"binary_data_size is {size_bytes:,}.",
        )
    return np.frombuffer(body, dtype, count, start).reshape(shape)


def _texts(body: bytes, place: int, end: int, count: int, name: str) -> npt.NDArray[Any]:
    """Return texts, each preceded by its length in four bytes."""
    if count > (end - place) // 4:
        raise RequestError(
            400,
            f"input {shown(name)}: {count:,} BYTES elements take at least {4 * count:,} bytes, but binary_data_size "
            f"is {end - place:,}.",
        )
    values = np.empty(count, object)
    for index in range(count):
        begin = place + 4
        place = begin + int.from_bytes(body[place:begin], "little")
        if begin > end or place > end:
            raise RequestError(400, f"input {shown(name)}: BYTES element {index} ends after the tensor's last byte.")
        values[index] = body[begin:place]
    if place != end:
        raise RequestError(
            400, f"input {shown(name)}: {end - place:,} bytes are left after its {count:,} BYTES elements."
        )
    return values
