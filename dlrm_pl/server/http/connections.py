"""Connections with limits that uvicorn lacks: on their number, the size of request heads, and time."""

from __future__ import annotations

import asyncio
import json
import re

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from dlrm_pl.server.http.exchanges import Exchange, parsed
from dlrm_pl.server.http.metrics import Metrics
from dlrm_pl.server.settings import Limits

_LINGER_S = 1.0
_MOST_PIPELINED = 64
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """A client's connection; ``connection_class`` sets its limits and metrics."""

    limits: Limits
    metrics: Metrics

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if the maximum number is reached."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._is_body_open = False
        self._is_ended = False
        self._arriving_since: float | None = None
        self._idle_since = self.loop.time()
        self._stuck: tuple[int, float] | None = None
        most = self.limits.connections
        if len(self.connections) > 2 * most:
            self.metrics.refused_connections["too many"] += 1
            transport.abort()  # Sending an error would also keep the connection open for a moment.
        elif len(self.connections) > most:
            self._refuse(503, f"The server already has {most:,} connections. Try again later.", "too many", "1")

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Read data from a client."""
        if self._is_ended or self.transport.is_closing():
            return  # Read and discard the data, so that the client can finish sending and then read the answer.
        self._head_bytes += len(data)
        if b"pgrade" in data and not self._is_body_open:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._is_ended or self.transport.is_closing():
            return
        if self._is_body_open:
            self._head_bytes = 0
        elif self._head_bytes > self.limits.head_bytes:
            most = self.limits.head_bytes
            self._refuse(431, f"The request line and headers have more than {most:,} bytes.", "large head")
        if not self._is_body_open and not self._head_bytes:
            self._arriving_since = None
        elif self._arriving_since is None:
            self._arriving_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Begin to answer a request."""
        if self._is_ended:
            return
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self.send_400_response("")
            return
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._end_after_answers("pipelined")
            return
        self._is_body_open = True
        self._head_bytes = 0
        self._begin()

    def _begin(self) -> None:
        """Start the application for a request whose head has arrived, once earlier requests are answered.

        Does the same as uvicorn, for our own ``Exchange`` and without the options that are not used here.
        """
        version = self.parser.get_http_version()
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"], self.scope["raw_path"], self.scope["query_string"] = parsed(self.url)
        waits = self._is_answering
        self.cycle = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def on_body(self, body: bytes) -> None:
        """Receive part of a body."""
        if not self._is_ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request has arrived completely."""
        if self._is_ended:
            return
        super().on_message_complete()
        self._is_body_open = False
        self._head_bytes = 0
        self._arriving_since = None

    def on_response_complete(self) -> None:
        """Start the next request, or wait for it; ``look`` ends that wait, so no timer is needed for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer the requests of a client that sends nothing more; incomplete ones will never arrive."""
        if not self._is_answering or self._is_body_open:
            return False
        self._is_ended = True
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP in the form of other errors, after the responses to earlier requests."""
        if self._is_answering and not self._is_body_open:
            self._end_after_answers("invalid")
        else:
            self._refuse(
                400, "The request is not valid HTTP/1.1. Nothing more will be read from this connection.", "invalid"
            )

    def _unsupported_upgrade_warning(self) -> None:
        """Answer a request for another protocol in this one; the parser reads nothing after it."""
        self._end_after_answers("upgrade")

    def look(self, now: float, *, is_draining: bool = False, moment_s: float = 0.25) -> None:
        """Disconnect the client if it takes too long; called repeatedly.

        Args:
            now: time of the event loop.
            is_draining: whether the server is being stopped, so that no connection is kept for later requests.
            moment_s: seconds that a connection may be idle while draining.
        """
        if self._is_stuck(now):
            self.metrics.refused_connections["slow"] += 1
            self.transport.abort()
        elif self.transport.is_closing() or self._is_ended:
            return
        elif self._arriving_since is not None:
            if now - self._arriving_since > self.limits.request_s:
                self._refuse(408, f"The request did not arrive within {self.limits.request_s:g} seconds.", "slow")
        elif not self._is_answering:
            idle_s = now - self._idle_since
            longest_s = self.limits.request_s if self.cycle is None else self.limits.idle_s
            if idle_s > (moment_s if is_draining else longest_s):
                self.transport.close()

    def _refuse(self, status: int, message: str, reason: str, retry_after: str = "") -> None:
        """Send an error and close the connection, after the client had time to read it."""
        self.metrics.refused_connections[reason] += 1
        if self._is_answering and (self.cycle.response_started or self.pipeline):
            self.transport.abort()  # The client would take the error for part of another response.
            return
        self._is_ended = True
        body = json.dumps({"error": message}).encode()
        head = [STATUS_LINE[status], b"content-type: application/json\r\n"]
        if retry_after:
            head.append(b"retry-after: " + retry_after.encode() + b"\r\n")
        head.append(b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n")
        self.transport.write(b"".join(head) + body)
        self._unset_keepalive_if_required()
        # If closed at once while the client is still sending, the connection would be reset and the answer lost.
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _end_after_answers(self, reason: str) -> None:
        """Read no more, and close when the requests that have arrived are answered."""
        self.metrics.refused_connections[reason] += 1
        self._is_ended = True
        self.cycle.keep_alive = False  # For the last request that has arrived.

    def _is_stuck(self, now: float) -> bool:
        """Whether the client has not read any of a response for too long."""
        left = self.transport.get_write_buffer_size()
        if not left:
            self._stuck = None
        elif self._stuck is None or self._stuck[0] != left:
            self._stuck = left, now
        return self._stuck is not None and now - self._stuck[1] > self.limits.request_s


def _without_upgrade(data: bytes) -> bytes:
    """Rename the Upgrade header, with which a client offers another protocol, as Java's client does with HTTP/2.

    The parser would stop at such a request, without its body. A server is allowed to ignore the offer.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + rest


def connection_class(limits: Limits, metrics: Metrics) -> type[Connection]:
    """Return the class of the connections of a server."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "metrics": metrics})
