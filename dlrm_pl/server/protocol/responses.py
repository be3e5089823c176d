"""Responses: JSON documents, and an inference's results with or without binary tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.server.protocol.requests import AskedOutput

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back.

    Attributes:
        status: status code.
        body: content.
        headers: names in lower case, and values.
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
        version: version that answered.
        request_id: identifier of the request.
        outputs: the outputs that were asked for, each with its values, float32 ``[B]``.
    """
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for asked, values in outputs:
        tensor: dict[str, Any] = {"name": asked.name, "datatype": "FP32", "shape": list(values.shape)}
        if asked.is_binary:
            binary.append(values.astype("<f4", copy=False).tobytes())
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = values.tolist()
        tensors.append(tensor)
    contents: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": tensors}
    if request_id is not None:
        contents["id"] = request_id
    document = json.dumps(contents, separators=(",", ":"), allow_nan=False).encode()
    if not binary:
        return Response(200, document, ((b"content-type", JSON_TYPE.encode()),))
    headers = (
        (b"content-type", BINARY_TYPE.encode()),
        (b"inference-header-content-length", str(len(document)).encode()),
    )
    return Response(200, b"".join((document, *binary)), headers)
