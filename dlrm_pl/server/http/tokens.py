"""Token that requests must carry."""

from __future__ import annotations

import hmac
from pathlib import Path

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.server.http.asgi import Scope, header
from dlrm_pl.server.protocol.errors import RequestError

_LEAST, _MOST = 16, 4096


class Token:
    """A secret that clients send as ``Authorization: Bearer TOKEN``.

    Args:
        value: the token.
    """

    def __init__(self, value: bytes) -> None:
        self._expected = b"bearer " + value

    @classmethod
    def read(cls, path: Path) -> Token:
        """Read a token from a file of one line.

        Raises:
            ConfigurationError: the file cannot be read, other users can read it, or its contents are not a token.
        """
        try:
            with path.open("rb") as handle:
                value = handle.read(_MOST + 1).strip()
            mode = path.stat().st_mode
        except OSError as error:
            raise ConfigurationError(f"token_file={path}: cannot be read ({error.strerror}).") from None
        if mode & 0o007:
            raise ConfigurationError(f"token_file={path}: other users can read or write it. Run: chmod 600 {path}")
        if not _LEAST <= len(value) <= _MOST or any(not 33 <= byte <= 126 for byte in value):
            raise ConfigurationError(
                f"token_file={path}: must hold one line of {_LEAST} to {_MOST:,} visible ASCII characters, such as "
                "`openssl rand -hex 32` prints."
            )
        return cls(value)

    def check(self, scope: Scope) -> None:
        """Check that a request carries the token.

        Raises:
            RequestError: the token is missing or wrong.
        """
        given = header(scope, b"authorization") or b""
        scheme, _, value = given.partition(b" ")
        if not hmac.compare_digest(scheme.lower() + b" " + value.strip(), self._expected):
            raise RequestError(
                401,
                "The request needs the server's token, as the header Authorization: Bearer TOKEN.",
                {"www-authenticate": "Bearer"},
            )
