"""ASGI application: the protocol's routes, and everything around an inference."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ArtifactError, DLRMError
from dlrm_pl.server.batching.batcher import OverloadedError
from dlrm_pl.server.http.asgi import Message, Receive, Scope, Send, header
from dlrm_pl.server.http.bodies import Bodies, ClientGoneError
from dlrm_pl.server.http.metrics import CONTENT_TYPE, Metrics
from dlrm_pl.server.http.tokens import Token
from dlrm_pl.server.models.registry import Registry
from dlrm_pl.server.models.served import ServedModel, ServedVersion, SwapOutcome
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.metadata import model_metadata, server_metadata
from dlrm_pl.server.protocol.openapi import openapi
from dlrm_pl.server.protocol.outputs import asked_outputs
from dlrm_pl.server.protocol.requests import json_length, parse_request
from dlrm_pl.server.protocol.responses import Response, error_response, inference_response, json_response
from dlrm_pl.server.settings import Limits

log = logging.getLogger(__name__)

_RETRY = {"retry-after": "1"}


class Application:
    """Answers requests.

    Args:
        registry: the models.
        limits: limits on what a client may use.
        metrics: where counts and times are recorded.
        token: token that requests must carry; None: no token is required.
        log_requests: whether each request is logged.
    """

    def __init__(
        self,
        registry: Registry,
        limits: Limits,
        metrics: Metrics,
        token: Token | None = None,
        *,
        log_requests: bool = False,
    ) -> None:
        self.registry = registry
        self.metrics = metrics
        self.is_draining = False
        """Whether the server was told to stop: it is no longer ready, and closes connections after their responses."""
        self.count_requests: Callable[[], int] = lambda: 0
        """Number of requests that are being answered; 0: not known."""
        self._bodies = Bodies(limits.body_bytes, limits.held_bytes)
        self._max_rows = limits.rows
        self._token = token
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the ASGI entry point."""
        began = time.perf_counter()
        try:
            response = await self._answer(scope, receive)
        except RequestError as error:
            extra = [(name.encode(), value.encode()) for name, value in error.headers.items()]
            response = error_response(error.status, error.message, extra, closes=error.closes)
        except ClientGoneError:
            return
        except Exception:
            log.exception("a request to %s failed", shown(scope["path"]))
            response = error_response(
                500, "The server failed to answer this request. See the server's log for the reason."
            )
        closes = response.closes or self.is_draining
        seconds = time.perf_counter() - began
        model = scope.get("dlrm_pl.model", "")
        if model:
            self.metrics.answered(model, response.status, seconds)
        else:
            self.metrics.requests["", response.status] += 1
        if self._log_requests:
            self._log(scope, response, seconds)
        headers: Sequence[tuple[bytes, bytes]] = (*response.headers, (b"content-length", b"%d" % len(response.body)))
        if closes:
            headers = [*headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else response.body
        if not response.closes:
            await send({"type": "http.response.body", "body": body})
            return
        # Briefly read what the client is still sending: closing the connection at once would lose the response.
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await _read_on(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        path: str = scope["path"]
        method: str = scope["method"]
        parts = path.strip("/").split("/")
        if parts == ["v2", "health", "live"]:
            _only(method, "GET")
            return json_response({"live": True})
        if parts == ["v2", "health", "ready"]:
            _only(method, "GET")
            ready = not self.is_draining and all(_is_ready(model.newest) for model in self.registry.models.values())
            return json_response({"ready": ready}, 200 if ready else 503)
        if self._token is not None:
            self._token.check(scope)
        if parts[0] == "v2":
            return await self._protocol(parts[1:], method, scope, receive)
        if parts == ["metrics"]:
            _only(method, "GET")
            return Response(200, self.metrics.text(self._gauges()), ((b"content-type", CONTENT_TYPE.encode()),))
        if parts == ["openapi.json"]:
            _only(method, "GET")
            return json_response(openapi(list(self.registry.models), with_token=self._token is not None))
        raise _no_path(path)

    async def _protocol(self, parts: list[str], method: str, scope: Scope, receive: Receive) -> Response:
        """Answer requests to paths under ``/v2``."""
        match parts:
            case []:
                _only(method, "GET")
                return json_response(server_metadata())
            case ["models", name]:
                _only(method, "GET")
                return self._metadata(*self.registry.find(name))
            case ["models", name, "infer"]:
                _only(method, "POST")
                return await self._infer(*self.registry.find(name), scope, receive)
            case ["models", name, "ready"]:
                _only(method, "GET")
                return self._ready(*self.registry.find(name))
            case ["models", name, "versions", version]:
                _only(method, "GET")
                return self._metadata(*self.registry.find(name, version))
            case ["models", name, "versions", version, "infer"]:
                _only(method, "POST")
                return await self._infer(*self.registry.find(name, version), scope, receive)
            case ["models", name, "versions", version, "ready"]:
                _only(method, "GET")
                return self._ready(*self.registry.find(name, version))
            case ["repository", "index"]:
                _only(method, "POST")
                return json_response(list(self._index()))
            case ["repository", "models", name, "load"]:
                _only(method, "POST")
                return await self._load(self.registry.find(name)[0])
        raise _no_path(scope["path"])

    def _metadata(self, model: ServedModel, version: ServedVersion) -> Response:
        return json_response(model_metadata(model.name, list(model.versions), version.model.inputs.schema))

    def _ready(self, model: ServedModel, version: ServedVersion) -> Response:
        ready = not self.is_draining and _is_ready(version)
        contents = {"name": model.name, "version": version.model.version, "ready": ready}
        return json_response(contents, 200 if ready else 503)

    def _index(self) -> Iterator[dict[str, str]]:
        for model in self.registry.models.values():
            for name, version in model.versions.items():
                state = "READY" if _is_ready(version) else "UNAVAILABLE"
                yield {"name": model.name, "version": name, "state": state}

    async def refresh(self, model: ServedModel, *, again: bool = False) -> SwapOutcome:
        """Check for newer versions of a model, and swap them in.

        Args:
            model: the model.
            again: also try versions that were refused before.
        """
        outcome = await self.registry.refresh(model, again=again)
        for name, messages in (("loaded", outcome.loaded), ("refused", outcome.refused)):
            self.metrics.swaps[model.name, name] += len(messages)
        return outcome

    async def _load(self, model: ServedModel) -> Response:
        outcome = await self.refresh(model, again=True)
        if outcome.refused:
            return error_response(
                409, f"The newer version was not loaded; the earlier one is still served. {' '.join(outcome.refused)}"
            )
        return json_response({"name": model.name, "versions": list(model.versions), "loaded": outcome.loaded})

    async def _infer(self, model: ServedModel, version: ServedVersion, scope: Scope, receive: Receive) -> Response:
        scope["dlrm_pl.model"] = model.name
        version.batcher.requests += 1
        try:
            length = json_length(header(scope, b"inference-header-content-length"))
            body = await self._bodies.read(scope, receive)
            try:
                request = parse_request(body, length)
                outputs = asked_outputs(request)
                inputs = version.model.inputs
                if inputs.takes_long(request):
                    rows = await version.batcher.beside(lambda: inputs.rows(request, self._max_rows))
                else:
                    rows = inputs.rows(request, self._max_rows)
                scores = version.batcher.score_now(rows.batch) if self.count_requests() == 1 else None
                if scores is None:
                    scores = await version.batcher.submit(rows.batch)
            except OverloadedError:
                raise RequestError(503, "Too many rows are waiting to be scored. Try again later.", _RETRY) from None
            except ArtifactError as error:
                raise RequestError(503, str(error), _RETRY) from None
            except DLRMError as error:
                raise RequestError(400, str(error)) from None
            finally:
                self._bodies.release(len(body))
        finally:
            version.batcher.requests -= 1
        self.metrics.rows[model.name] += len(scores.logits)
        if rows.unseen:
            self.metrics.unseen[model.name] += rows.unseen
        values = {"probability": scores.probabilities, "logit": scores.logits}
        asked = [(output, values[output.name]) for output in outputs]
        return inference_response(model.name, version.model.version, request.id, asked)

    def _gauges(self) -> Iterator[tuple[str, str, str, float]]:
        versions = [
            (model.name, name, version)
            for model in self.registry.models.values()
            for name, version in model.versions.items()
        ]
        for model, name, version in versions:
            labels = f'model="{model}",version="{name}"'
            yield "ready", "Whether a version answers.", labels, _is_ready(version)
        for model, name, version in versions:
            labels = f'model="{model}",version="{name}"'
            yield "queued_rows", "Number of rows that are waiting to be scored.", labels, version.batcher.queued_rows
        yield (
            "held_body_bytes",
            "Total size of the request bodies that are being answered, in bytes.",
            "",
            self._bodies.held_bytes,
        )

    def _log(self, scope: Scope, response: Response, seconds: float) -> None:
        log.info(
            "%s %s %d",
            scope["method"],
            shown(scope["path"])[1:-1],
            response.status,
            extra={
                "client": (scope.get("client") or ("",))[0],
                "status": response.status,
                "ms": round(1000 * seconds, 3),
            },
        )


def _is_ready(version: ServedVersion) -> bool:
    try:
        version.model.check()
    except ArtifactError:
        return False
    return True


def _only(method: str, allowed: str) -> None:
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        allow = "GET, HEAD" if allowed == "GET" else allowed
        raise RequestError(405, f"{shown(method)[1:-1]} is not allowed here, only {allow}.", {"allow": allow})


def _no_path(path: str) -> RequestError:
    return RequestError(
        404,
        f"There is nothing at {shown(path)}. The protocol's paths begin with /v2; /v2/models/NAME/infer scores rows.",
    )


async def _read_on(receive: Receive, seconds: float = 2.0) -> None:
    async def read() -> None:
        message: Message = {"type": "http.request", "more_body": True}
        while message["type"] == "http.request" and message.get("more_body"):
            message = await receive()

    try:
        await asyncio.wait_for(read(), seconds)
    except TimeoutError:
        return
