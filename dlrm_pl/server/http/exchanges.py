"""A request and its response on a connection; the response is written as a whole."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote

from httptools import parse_url
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from dlrm_pl.server.http.asgi import Message

Headers = tuple[tuple[bytes, bytes], ...]
_KEPT_URL_BYTES = 256


class Exchange(RequestResponseCycle):
    """What an application receives from a client and sends to it.

    uvicorn's class checks each header again and writes head and body separately, which takes a tenth of the time of a
    one-row request. Responses of ``Application`` have their headers in a tuple, state their length and come in one
    part; their encoded heads are cached, because only a few different ones exist. uvicorn's class handles all others.
    """

    _head: bytes | None = None

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Send part of the response, in ASGI's form."""
        if self._head is not None:
            self._finish(self._head + message.get("body", b""))
            self._head = None
        elif self.response_started or self.flow.write_paused or self.disconnected:
            await super().send(message)  # type: ignore[arg-type]
        elif self.keep_alive and isinstance(message["headers"], tuple):
            self._head = _head(message["status"], message["headers"])
            self.response_started = True
            self.waiting_for_100_continue = False
        else:
            await super().send(message)  # type: ignore[arg-type]

    def _finish(self, response: bytes) -> None:
        if self.disconnected:
            return
        self.transport.write(response)
        self.response_complete = True
        self.message_event.set()
        self.on_response()


@lru_cache(maxsize=512)
def _head(status: int, headers: Headers) -> bytes:
    return STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n"


def parsed(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path of a URL, both unquoted and unchanged, and its query."""
    return _kept(url) if len(url) <= _KEPT_URL_BYTES else _parsed(url)


def _parsed(url: bytes) -> tuple[str, bytes, bytes]:
    found = parse_url(url)
    path = found.path.decode("ascii")
    return unquote(path) if "%" in path else path, found.path, found.query or b""


@lru_cache(maxsize=256)
def _kept(url: bytes) -> tuple[str, bytes, bytes]:
    return _parsed(url)
