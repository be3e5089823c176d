"""Responses: JSON documents, and an inference's results with or without binary tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dlrm_pl.server.protocol.requests import AskedOutput

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"


class Response(NamedTuple):
    """A response to be sent.

    Attributes:
        status: status code.
        body: content.
        headers: pairs of names, in lower case, and values.
        closes: whether the connection is closed afterwards.
    """

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    closes: bool = False


def json_response(contents: Any, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    """Return a document as a response."""
    body = json.dumps(contents, separators=(",", ":"), allow_nan=False).encode()
    return Response(status, body, ((b"content-type", JSON_TYPE.encode()), *headers))


def error_response(
    status: int, message: str, headers: Sequence[tuple[bytes, bytes]] = (), *, closes: bool = False
) -> Response:
    """Return an error in the protocol's form."""
    response = json_response({"error": message}, status, headers)
    return Response(response.status, response.body, response.headers, closes)


def inference_response(
    model: str,
    version: str,
    request_id: str | None,
    outputs: Sequence[tuple[AskedOutput, npt.NDArray[np.float32]]],
) -> Response:
    """Return the results of a request.

    Args:
        model: name of the model.
        version: version that computed the results.
        request_id: identifier of the request.
        outputs: the requested outputs, each with its values, float32 ``[B]``.
    """
    if request_id is None and all(asked.is_binary for asked, _ in outputs):
        names = tuple(asked.name for asked, _ in outputs)
        head, headers = _binary_head(model, version, names, outputs[0][1].shape)
        return Response(200, b"".join((head, *(_bytes(values) for _, values in outputs))), headers)
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for asked, values in outputs:
        tensor: dict[str, Any] = {"name": asked.name, "datatype": "FP32", "shape": list(values.shape)}
        if asked.is_binary:
            binary.append(_bytes(values))
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = values.tolist()
        tensors.append(tensor)
    document = _document(model, version, tensors, request_id)
    if not binary:
        return Response(200, document, ((b"content-type", JSON_TYPE.encode()),))
    return Response(200, b"".join((document, *binary)), _binary_headers(document))


@lru_cache(maxsize=256)
def _binary_head(
    model: str, version: str, names: tuple[str, ...], shape: tuple[int, ...]
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """Return the document and headers of a response with only binary tensors; cached, since there are few of them."""
    size = {"binary_data_size": 4 * math.prod(shape)}
    tensors = [{"name": name, "datatype": "FP32", "shape": list(shape), "parameters": size} for name in names]
    document = _document(model, version, tensors, None)
    return document, _binary_headers(document)


def _binary_headers(document: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"content-type", BINARY_TYPE.encode()),
        (b"inference-header-content-length", str(len(document)).encode()),
    )


def _document(model: str, version: str, tensors: list[dict[str, Any]], request_id: str | None) -> bytes:
    contents: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": tensors}
    if request_id is not None:
        contents["id"] = request_id
    return json.dumps(contents, separators=(",", ":"), allow_nan=False).encode()


def _bytes(values: npt.NDArray[np.float32]) -> bytes:
    return values.astype("<f4", copy=False).tobytes()
