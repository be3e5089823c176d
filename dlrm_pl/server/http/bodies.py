"""Request bodies, read and decompressed within limits."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from dlrm_pl.documents.fields import shown
from dlrm_pl.server.http.asgi import Message, Receive, Scope, header
from dlrm_pl.server.protocol.errors import RequestError

_CODINGS = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


@dataclass
class Bodies:
    """Reads request bodies.

    Args:
        body_bytes: maximum size of a body, also after decompression.
        total_bytes: maximum total size of all bodies that are held at a time.
    """

    body_bytes: int
    total_bytes: int
    held_bytes: int = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the decompressed body of a request; ``release`` its length when it is no longer needed.

        Raises:
            RequestError: the body is too large, or does not match its Content-Encoding.
            ClientGoneError: the client closed the connection.
        """
        stated = header(scope, b"content-length")
        if stated is not None and stated.isdigit() and (len(stated) > 18 or int(stated) > self.body_bytes):
            raise self._too_large(f"{int(stated):,}" if len(stated) <= 18 else "too many")
        window = _window(scope)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")  # Most bodies come in one part.
            self._hold(len(body))
        else:
            body = await self._joined(message, receive)
        if window is not None:
            try:
                unpacked = self._unpacked(body, window)
            finally:
                self.release(len(body))
            self._hold(len(unpacked))
            return unpacked
        return body

    def release(self, size: int) -> None:
        """Count a body as no longer held."""
        self.held_bytes -= size

    async def _joined(self, message: Message, receive: Receive) -> bytes:
        """Return a body that comes in several parts."""
        body = bytearray()
        held = 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise ClientGoneError
                part = message.get("body", b"")
                self._hold(len(part))
                held += len(part)
                body += part
                if len(body) > self.body_bytes:
                    raise self._too_large("too many")
                if not message.get("more_body"):
                    return bytes(body)
                message = await receive()
        except BaseException:
            self.release(held)
            raise

    def _unpacked(self, body: bytes, window: int) -> bytes:
        unpack = zlib.decompressobj(window)
        try:
            # Allow one more byte than the limit, to tell a body that is too large from one that just fits.
            unpacked = unpack.decompress(body, self.body_bytes + 1)
        except zlib.error as error:
            raise RequestError(400, f"The body does not match its Content-Encoding ({error}).") from None
        if len(unpacked) > self.body_bytes:
            raise self._too_large("too many unpacked")
        if not unpack.eof or unpack.unused_data:
            raise RequestError(400, "The compressed body is truncated, or has data after its end.")
        return unpacked

    def _hold(self, size: int) -> None:
        self.held_bytes += size
        if self.held_bytes > self.total_bytes:
            self.held_bytes -= size
            raise RequestError(
                503,
                f"The requests that are being answered already have {self.total_bytes:,} bytes. Try again later.",
                {"retry-after": "1"},
                closes=True,
            )

    def _too_large(self, size: str) -> RequestError:
        return RequestError(
            413,
            f"The body has {size} bytes; at most {self.body_bytes:,} are accepted. Send fewer rows per request.",
            closes=True,
        )


def _window(scope: Scope) -> int | None:
    coding = header(scope, b"content-encoding")
    if coding is None or coding.strip().lower() in (b"", b"identity"):
        return None
    window = _CODINGS.get(coding.strip().lower())
    if window is None:
        raise RequestError(
            415, f"Content-Encoding {shown(coding.decode('latin-1'))} is not supported. Use gzip, deflate or none."
        )
    return window
