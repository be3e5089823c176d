"""An inference request, read from bytes into named arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy.typing as npt

from dlrm_pl.documents.fields import shown
from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import DataFormatError
from dlrm_pl.server.protocol.binary_tensors import binary_array
from dlrm_pl.server.protocol.datatypes import DATATYPES
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.json_tensors import json_array

MAX_JSON_BYTES = 4 << 20
"""Largest JSON document of a request; larger tensors must be binary."""

_MAX_CONTAINERS = 1 << 17
_MAX_TENSORS = 8192
_MAX_DIMENSIONS = 8
_MAX_TEXT = 256
_MAX_VALUES = 1 << 48  # Zeros count as 1, because NumPy refuses larger shapes even without values.
# Cache documents up to this size: those that describe binary tensors are short, and clients repeat them.
_KEPT_BYTES = 4096


class InputTensor(NamedTuple):
    """A tensor of a request.

    Attributes:
        name: name of the tensor.
        datatype: datatype, such as ``FP32``.
        values: values in the tensor's shape; for BYTES, an object array of ``bytes``, with None for null in the JSON.
    """

    name: str
    datatype: str
    values: npt.NDArray[Any]


class AskedOutput(NamedTuple):
    """An output that the client requests.

    Attributes:
        name: name of the output.
        is_binary: whether the values follow the JSON as bytes.
    """

    name: str
    is_binary: bool


class InferenceRequest(NamedTuple):
    """A request that has been checked against the protocol, but not yet against a model.

    Attributes:
        id: identifier to repeat in the response; None if the request has none.
        inputs: tensors by name.
        outputs: requested outputs, in order; empty: the model's default outputs.
        is_binary: whether outputs that are not requested by name are binary.
    """

    id: str | None
    inputs: dict[str, InputTensor]
    outputs: tuple[AskedOutput, ...] = ()
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class _Described:
    """A tensor as the JSON describes it: with its values, or with its number of bytes after the JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class _Document:
    """The JSON of a request."""

    id: str | None
    inputs: tuple[_Described, ...]
    outputs: tuple[AskedOutput, ...] = field(default=())
    is_binary: bool = False


def parse_request(body: bytes, json_bytes: int | None) -> InferenceRequest:
    """Read the body of a request.

    Args:
        body: the JSON document, followed by any binary tensors.
        json_bytes: length of the JSON document, from the header; None: the body is only JSON.

    Raises:
        RequestError: the request violates the protocol; states what is wrong.
    """
    length = len(body) if json_bytes is None else json_bytes
    if length > len(body):
        raise RequestError(
            400, f"Inference-Header-Content-Length is {length}, but the body has only {len(body):,} bytes."
        )
    if length > MAX_JSON_BYTES:
        raise RequestError(
            413,
            f"The JSON of the request has {length:,} bytes, more than {MAX_JSON_BYTES:,}. Send tensors as binary data, "
            "or fewer rows.",
        )
    text = body[:length]
    document = _kept_document(text) if json_bytes is not None and length <= _KEPT_BYTES else _parse(text)
    inputs: dict[str, InputTensor] = {}
    place = length
    for tensor in document.inputs:
        if tensor.size_bytes is None:
            assert tensor.data is not None
            values = json_array(tensor.data, tensor.datatype, tensor.shape, tensor.name)
        else:
            end = place + tensor.size_bytes
            if end > len(body):
                raise RequestError(
                    400,
                    f"input {shown(tensor.name)}: binary_data_size is {tensor.size_bytes:,}, but only "
                    f"{len(body) - place:,} bytes of the body are left for it.",
                )
            values = binary_array(body, place, tensor.size_bytes, tensor.datatype, tensor.shape, tensor.name)
            place = end
        inputs[tensor.name] = InputTensor(tensor.name, tensor.datatype, values)
    if place != len(body):
        raise RequestError(
            400,
            f"The body has {len(body) - place:,} bytes after the last tensor. The binary_data_size of all inputs and "
            "Inference-Header-Content-Length must add up to the length of the body.",
        )
    return InferenceRequest(document.id, inputs, document.outputs, document.is_binary)


@lru_cache(maxsize=256)
def _kept_document(text: bytes) -> _Document:
    return _parse(text)


def _parse(text: bytes) -> _Document:
    # Check before parsing: each of millions of empty lists takes a few bytes here, but a hundred in memory.
    if text.count(b"[") + text.count(b"{") > _MAX_CONTAINERS:
        raise RequestError(400, f"The JSON has more than {_MAX_CONTAINERS:,} lists and objects.")
    try:
        # Decode explicitly, because Python's JSON parser also accepts bytes in UTF-16 and UTF-32.
        contents = parse_json(text.decode("utf-8"), "the request", DataFormatError, "")
    except UnicodeDecodeError as error:
        raise RequestError(
            400,
            f"the request: is not UTF-8 text at byte {error.start:,}. Send JSON in UTF-8, and say in the header "
            "Inference-Header-Content-Length where binary tensors begin.",
        ) from None
    except DataFormatError as error:
        raise RequestError(400, str(error).rstrip()) from None
    if not isinstance(contents, dict):
        raise RequestError(400, f"The request must be a JSON object with inputs, not {shown(contents)}.")
    parameters = _parameters(contents, "the request")
    default = _flag(parameters, "binary_data_output", "the request")
    inputs = tuple(_described(item, index) for index, item in enumerate(_items(contents, "inputs")))
    if not inputs:
        raise RequestError(400, "inputs is empty or missing. Give the tensors that the model's metadata lists.")
    names = [tensor.name for tensor in inputs]
    if len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise RequestError(400, f"input {shown(twice)} is given twice.")
    outputs = tuple(_asked(item, index, default) for index, item in enumerate(_items(contents, "outputs")))
    return _Document(_text(contents, "id", "the request"), inputs, outputs, default)


def _items(contents: dict[str, Any], name: str) -> list[Any]:
    items = contents.get(name, [])
    if not isinstance(items, list):
        raise RequestError(400, f"{name} must be a list of objects, not {shown(items)}.")
    if len(items) > _MAX_TENSORS:
        raise RequestError(400, f"{name} has {len(items):,} elements, more than {_MAX_TENSORS:,}.")
    return items


def _described(item: Any, index: int) -> _Described:
    name = _name(item, f"inputs[{index}]", "name, shape and datatype")
    where = f"input {shown(name)}"
    datatype = item.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise RequestError(400, f"{where}: datatype {shown(datatype)} must be one of {', '.join(DATATYPES)}.")
    shape = _shape(item.get("shape"), where)
    parameters = _parameters(item, where)
    if "shared_memory_region" in parameters:
        raise RequestError(400, f"{where}: shared memory is not supported. Send the values in the request.")
    size, data = parameters.get("binary_data_size"), item.get("data")
    if (size is None) == (data is None):
        raise RequestError(400, f"{where} needs either data or the parameter binary_data_size, not both.")
    if size is None:
        if not isinstance(data, list):
            raise RequestError(400, f"{where}: data must be a list, not {shown(data)}.")
    elif type(size) is not int or size < 0:
        raise RequestError(400, f"{where}: binary_data_size {shown(size)} must be a whole number of at least 0.")
    return _Described(name, datatype, shape, data, size)


def _name(item: Any, where: str, needed: str) -> str:
    """Return the name of a tensor, after checking that its description is an object with a name."""
    if not isinstance(item, dict):
        raise RequestError(400, f"{where} must be an object with {needed}, not {shown(item)}.")
    name = _text(item, "name", where)
    if not name:
        raise RequestError(400, f"{where} has no name.")
    return name


def _shape(shape: Any, where: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise RequestError(400, f"{where}: shape {shown(shape)} must be a list of whole numbers of at least 0.")
    if len(shape) > _MAX_DIMENSIONS:
        raise RequestError(400, f"{where}: shape has {len(shape)} dimensions, more than {_MAX_DIMENSIONS}.")
    if math.prod(size or 1 for size in shape) > _MAX_VALUES:
        raise RequestError(400, f"{where}: a shape of {shown(shape)} has more values than any request can have.")
    return tuple(shape)


def _asked(item: Any, index: int, default: bool) -> AskedOutput:
    name = _name(item, f"outputs[{index}]", "a name")
    where = f"output {shown(name)}"
    parameters = _parameters(item, where)
    for refused in ("shared_memory_region", "classification"):
        if refused in parameters:
            raise RequestError(400, f"{where}: the parameter {refused} is not supported.")
    return AskedOutput(name, _flag(parameters, "binary_data", where, default))


def _parameters(contents: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = contents.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError(400, f"{where}: parameters must be an object, not {shown(parameters)}.")
    return parameters


def _flag(parameters: dict[str, Any], name: str, where: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(400, f"{where}: the parameter {name} must be true or false, not {shown(value)}.")
    return value


def _text(contents: dict[str, Any], name: str, where: str) -> str | None:
    value = contents.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > _MAX_TEXT):
        raise RequestError(400, f"{where}: {name} must be text of at most {_MAX_TEXT} characters, not {shown(value)}.")
    return value


def json_length(header: bytes | None) -> int | None:
    """Read the header Inference-Header-Content-Length; None if it is missing.

    Raises:
        RequestError: the header is not a whole number.
    """
    if header is None:
        return None
    if not header.isdigit() or len(header) > 15:
        raise RequestError(
            400, f"Inference-Header-Content-Length is {shown(header.decode('latin-1'))}, but must be a number of bytes."
        )
    return int(header)
