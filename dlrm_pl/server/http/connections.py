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
_INVALID = "The request is not valid HTTP/1.1{}. Nothing more will be read from this connection."
_HOST = re.compile(rb"[^\s/?#@,]*")
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """A client's connection; ``connection_class`` sets its limits and metrics."""

    limits: Limits
    metrics: Metrics

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if the maximum number is reached."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._may_have_large_head = False
        self._is_body_open = False
        self._had_body = False
        self._trailer_bytes = 0
        self._is_ended = False
        self._last_response = b""
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
        self._may_have_large_head = self._head_bytes > self.limits.head_bytes
        if b"pgrade" in data and not self._is_body_open:
            data = _without_upgrade(data)
        self._had_body = False
        super().data_received(data)
        if self._is_ended or self.transport.is_closing():
            return
        if self._is_body_open:
            self._head_bytes = 0
            # What arrives within a body but is none of it can only be trailers, which the parser keeps.
            self._trailer_bytes = 0 if self._had_body else self._trailer_bytes + len(data)
            if self._trailer_bytes > self.limits.head_bytes:
                self._refuse_large_head()
        elif self._head_bytes > self.limits.head_bytes:
            self._refuse_large_head()
        if not self._is_body_open and not self._head_bytes:
            self._arriving_since = None
        elif self._arriving_since is None:
            self._arriving_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header; those after a chunked body, its trailers, are not headers of the request."""
        if not self._is_body_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer a request."""
        if self._is_ended:
            return
        # Counted only if so much was received: nearly all heads come in one packet with much less.
        if self._may_have_large_head and self._size_of_head() > self.limits.head_bytes:
            self._refuse_large_head()
            return
        if self._is_refused(self.parser.get_http_version()):
            return
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._end_after_answers("pipelined")
            return
        self._is_body_open = True
        self._trailer_bytes = 0
        self._head_bytes = 0
        self._begin()

    def _size_of_head(self) -> int:
        """Size of the request line and headers in bytes, without optional spaces."""
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _refuse_large_head(self) -> None:
        most = self.limits.head_bytes
        self._refuse(431, f"The request line and headers have more than {most:,} bytes.", "large head")

    def _is_refused(self, version: str) -> bool:
        """Refuse a request with a head that the parser accepts although HTTP does not (RFC 9112, 3.2 and 6.1)."""
        if version not in ("1.0", "1.1"):
            self.send_400_response("")
            return True
        hosts, codings = [], []
        for name, value in self.headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
        if len(hosts) != 1 and (hosts or version == "1.1"):
            found = f"it has {len(hosts)} Host headers" if hosts else "it has no Host header"
            self._refuse(400, _INVALID.format(f": {found}, but must have one"), "invalid")
        elif hosts and not _HOST.fullmatch(hosts[0]):
            self._refuse(400, _INVALID.format(": its Host header names no host"), "invalid")
        elif codings and not codings[-1].endswith(b"chunked"):
            self.send_400_response("")
        elif codings and version == "1.0":
            self._refuse(400, _INVALID.format(": HTTP/1.0 has no Transfer-Encoding"), "invalid")
        elif codings and codings != [b"chunked"]:
            self._refuse(501, "The only Transfer-Encoding that the server reads is chunked.", "invalid")
        return self._is_ended

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
        self._had_body = True
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
        elif self._last_response:
            self._end_with(self._last_response)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer the requests of a client that sends nothing more; incomplete ones will never arrive."""
        if self._last_response:
            return self._is_answering
        if not self._is_answering or self._is_body_open:
            return False
        self._is_ended = True
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP in the form of other errors."""
        if not self._is_ended:
            self._refuse(400, _INVALID.format(""), "invalid")

    def _unsupported_upgrade_warning(self) -> None:
        """Answer a request for another protocol in this one; the parser reads nothing after it."""
        if not self._is_ended:
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
        """Send an error, after the responses to earlier requests, and close the connection."""
        self.metrics.refused_connections[reason] += 1
        self._is_ended = True
        body = json.dumps({"error": message}).encode()
        head = [STATUS_LINE[status], b"content-type: application/json\r\n"]
        if retry_after:
            head.append(b"retry-after: " + retry_after.encode() + b"\r\n")
        head.append(b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n")
        response = b"".join(head) + body
        if not self._is_answering:
            self._end_with(response)
        elif not self._is_body_open:
            self._last_response = response
        elif self.pipeline:
            self.pipeline.popleft()  # The request whose body is wrong, which has not been started.
            self._last_response = response
        elif self.cycle.response_started:
            self.transport.abort()  # The client would take the error for part of this response.
        else:
            self._end_with(response)
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _end_with(self, response: bytes) -> None:
        """Send a last response, and close the connection after the client had time to read it."""
        self._last_response = b""
        self.transport.write(response)
        self._unset_keepalive_if_required()
        # If closed at once while the client is still sending, the connection would be reset and the answer lost.
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)

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
