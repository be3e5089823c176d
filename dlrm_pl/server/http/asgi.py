"""Types of ASGI, the interface between an HTTP server and an application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of a request's header, whose name is given in lower case; None if it is not there.

    Where a header is repeated the last one counts.
    """
    found: bytes | None = None
    for key, value in scope["headers"]:
        if key == name:
            found = value
    return found
