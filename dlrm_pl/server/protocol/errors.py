"""The error that ends one request."""

from __future__ import annotations

from collections.abc import Mapping


class RequestError(Exception):
    """A request that is answered with an error instead of a result.

    Args:
        status: status of the response, from 400 up.
        message: what was wrong, where, the value, and what to do.
        headers: additional headers of the response.
        closes: whether the connection is closed after the response, because further data on it cannot be trusted.
    """

    def __init__(
        self, status: int, message: str, headers: Mapping[str, str] | None = None, *, closes: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.closes = closes
