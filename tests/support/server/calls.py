"""Calls of the application in this process without a socket, and request bodies as clients write them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dlrm_pl.server.batching.batcher import BatchLimits
from dlrm_pl.server.http.application import Application
from dlrm_pl.server.http.metrics import Metrics
from dlrm_pl.server.http.tokens import Token
from dlrm_pl.server.models.served import LoadSettings
from dlrm_pl.server.protocol.datatypes import NUMPY_TYPES
from dlrm_pl.server.run import load_models
from dlrm_pl.server.settings import Limits, ServerSettings

NAME = "clicks"
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def contents(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Return the message of an error, which is the only field of its body."""
        assert self.status >= 400, self
        contents = self.contents
        assert list(contents) == ["error"]
        return str(contents["error"])

    def values(self, name: str = "probability") -> npt.NDArray[np.float32]:
        """Return an output whose values are in the JSON or follow it."""
        assert self.status == 200, self.body
        length = self.headers.get("inference-header-content-length")
        head = json.loads(self.body if length is None else self.body[: int(length)])
        place = 0 if length is None else int(length)
        for output in head["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if output["name"] == name:
                if size is None:
                    return np.array(output["data"], np.float32).reshape(output["shape"])
                return np.frombuffer(self.body, "<f4", size // 4, place).reshape(output["shape"])
            place += size or 0
        raise KeyError(name)


class Caller:
    """An application and its event loop."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        *,
        limits: Limits | None = None,
        batching: BatchLimits | None = None,
        loading: LoadSettings | None = None,
        token: Token | None = None,
    ) -> None:
        self.runner = asyncio.Runner()
        settings = ServerSettings(
            limits=limits or Limits(), batching=batching or BatchLimits(), loading=loading or LoadSettings()
        )
        self.metrics = Metrics()
        self.registry = load_models(folders, settings, self.metrics)
        self.application = Application(self.registry, settings.limits, self.metrics, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.registry.close()
        self.runner.close()

    def get(self, path: str, headers: Headers | None = None, method: str = "GET") -> Answer:
        return self.runner.run(call(self.application, method, path, b"", headers or {}))

    def post(self, path: str, body: bytes, headers: Headers | None = None) -> Answer:
        return self.runner.run(call(self.application, "POST", path, body, headers or {}))

    def infer(self, request: tuple[bytes, Headers] | bytes, name: str = NAME) -> Answer:
        """Post a body, with the headers from ``binary`` or with none."""
        body, headers = request if isinstance(request, tuple) else (request, {})
        return self.post(f"/v2/models/{name}/infer", body, headers)

    def infer_all(self, requests: Sequence[tuple[bytes, Headers] | bytes], name: str = NAME) -> list[Answer]:
        """Post requests that arrive at the same time."""

        async def answer() -> list[Answer]:
            pairs = [request if isinstance(request, tuple) else (request, {}) for request in requests]
            path = f"/v2/models/{name}/infer"
            return list(await asyncio.gather(*(call(self.application, "POST", path, *pair) for pair in pairs)))

        return self.runner.run(answer())


async def call(
    application: Application, method: str, path: str, body: bytes, headers: Headers, part: int = 1 << 16
) -> Answer:
    """Call the application as an HTTP server does, with a body in parts."""
    parts = [body[at : at + part] for at in range(0, len(body), part)] or [b""]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    await application(scope, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], found, content)


def text(inputs: Iterable[Mapping[str, Any]], **more: Any) -> bytes:
    """Return the body of a request whose values are in the JSON."""
    return json.dumps({"inputs": list(inputs)} | more).encode()


def tensor(name: str, datatype: str, values: Any, shape: Sequence[int] | None = None) -> dict[str, Any]:
    """Return a tensor for ``text``; NaN becomes null."""
    array = np.asarray(values)
    data = [None if value != value else value for value in array.reshape(-1).tolist()]
    return {"name": name, "datatype": datatype, "shape": list(array.shape if shape is None else shape), "data": data}


def rows_text(dense: Any, ids: Any, **more: Any) -> bytes:
    """Return the body of a request of rows, as JSON."""
    return text([tensor("dense", "FP32", dense), tensor("indices", "INT64", ids)], **more)


def rows_binary(dense: Any, ids: Any, **more: Any) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request of rows as binary tensors, and its header."""
    return binary({"dense": ("FP32", dense), "indices": ("INT64", ids)}, **more)


def binary(tensors: Mapping[str, tuple[str, Any]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request with binary tensors, and its header."""
    inputs, parts = [], []
    for name, (datatype, values) in tensors.items():
        if datatype == "BYTES":
            parts.append(b"".join(len(value).to_bytes(4, "little") + value for value in values))
            shape = [len(values)]
        else:
            array = np.asarray(values, NUMPY_TYPES[datatype])
            parts.append(array.tobytes())
            shape = list(array.shape)
        size = {"binary_data_size": len(parts[-1])}
        inputs.append({"name": name, "datatype": datatype, "shape": shape, "parameters": size})
    head = json.dumps({"inputs": inputs} | more).encode()
    return b"".join((head, *parts)), {"Inference-Header-Content-Length": str(len(head))}
