"""Types of ASGI, the interface between an HTTP server and an application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dlrm_pl.server.protocol.errors import RequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of a request header, given in lower case; None if it is missing.

    Raises:
        RequestError: the header occurs more than once, with different values.
    """
    found: bytes | None = None
    for key, value in scope["headers"]:
        if key == name:
            if found is not None and found != value:
                raise RequestError(400, f"The header {name.decode()} is given twice, with different values.")
            found = value
    return found
