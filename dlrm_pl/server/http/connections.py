"""Connections, with limits that uvicorn does not have: their number, the size of a head, and time."""

from __future__ import annotations

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from dlrm_pl.server.http.metrics import Metrics
from dlrm_pl.server.settings import Limits


class Connection(HttpToolsProtocol):
    """A connection of a client; ``connection_class`` sets its limits and metrics."""

    limits: Limits
    metrics: Metrics

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where there are as many as are allowed."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._waits_since: float | None = self.loop.time()
        """When the request that is arriving began; None while one is answered."""
        self._is_idle = True
        self._stuck: tuple[int, float] | None = None
        """How much of a response waited to be taken when it was looked at, and since when it has."""
        if len(self.connections) > self.limits.connections:
            self.refuse(503, f"The server has {self.limits.connections:,} connections already.", "too many", "1")

    def data_received(self, data: bytes) -> None:
        """Read what a client sent."""
        if self.transport.is_closing():
            return
        if self._is_idle:
            self._is_idle = False
            self._waits_since = self.loop.time()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self.refuse(
                431, f"The request line and headers have more than {self.limits.head_bytes:,} bytes.", "large head"
            )

    def on_headers_complete(self) -> None:
        """Begin to answer a request."""
        self._in_head = False
        if self.cycle is not None and not self.cycle.response_complete and len(self.pipeline) > 64:
            self.refuse(429, "More than 64 requests were sent before the answer to the first.", "pipeline")
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a request has arrived."""
        super().on_message_complete()
        self._waits_since = None
        self._in_head = True
        self._head_bytes = 0

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self._waits_since is None and not self.pipeline:
            self._is_idle = True

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form of other errors."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started:
            self.transport.close()  # The answer to another request has begun, and this one would be taken for its end.
            return
        self.refuse(400, "The request is not valid HTTP/1.1.", "invalid")

    def refuse(self, status: int, message: str, reason: str, retry_after: str = "") -> None:
        """Send an error and close the connection."""
        self.metrics.refused_connections[reason] += 1
        body = json.dumps({"error": message}).encode()
        head = [STATUS_LINE[status], b"content-type: application/json\r\n"]
        if retry_after:
            head.append(b"retry-after: " + retry_after.encode() + b"\r\n")
        head.append(b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n")
        self.transport.write(b"".join(head) + body)
        self.transport.close()

    def look(self, now: float, *, is_draining: bool = False) -> None:
        """Cut the connection off if its client takes too long; called about once a second.

        Args:
            now: time of the event loop.
            is_draining: whether the server is being stopped, so that no connection is kept for later requests.
        """
        if self.transport.is_closing():
            # The transport waits until what was written is taken.
            if self._is_stuck(now):
                self.transport.abort()
            return
        if self._is_idle:
            since = self._waits_since
            answered = self.cycle is None or self.cycle.response_complete
            if is_draining and answered:
                self.transport.close()
            elif since is not None and self.cycle is None and now - since > self.limits.request_s:
                self.transport.close()  # It was never used.
        elif self._waits_since is not None and now - self._waits_since > self.limits.request_s:
            answers = self.cycle is not None and not self.cycle.response_complete
            if answers and self.cycle.response_started:
                self.transport.abort()
            else:
                self.refuse(408, f"The request did not arrive within {self.limits.request_s:g} seconds.", "slow")
        elif self._is_stuck(now):
            self.metrics.refused_connections["slow"] += 1
            self.transport.abort()

    def _is_stuck(self, now: float) -> bool:
        """Whether nothing of a response was taken for too long."""
        left = self.transport.get_write_buffer_size()
        if not left:
            self._stuck = None
        elif self._stuck is None or self._stuck[0] != left:
            self._stuck = left, now
        return self._stuck is not None and now - self._stuck[1] > self.limits.request_s


def connection_class(limits: Limits, metrics: Metrics) -> type[Connection]:
    """Return the class of the connections of a server."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "metrics": metrics})
