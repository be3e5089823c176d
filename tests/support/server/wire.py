"""Plain HTTP: bytes to a socket, and answers from it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from tests.support.server.calls import Answer
from tests.support.server.running import Running


def message(path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def read_answer(sock: socket.socket) -> Answer:
    """Read the next answer of a connection."""
    found = _next(sock, b"")
    assert found is not None, "the connection was closed without an answer"
    return found[0]


def answers(server: Running, sent: bytes, *, stop: bool = False) -> list[Answer]:
    """Return all answers to some bytes until the server closes the connection; ``stop``: the client sends no more."""
    found = []
    with server.connect() as sock:
        # The server may have closed it in the meantime, which is valid after a response.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(sent)
        if stop:
            sock.shutdown(socket.SHUT_WR)
        rest = b""
        while True:
            answer = _next(sock, rest)
            if answer is None:
                return found
            found.append(answer[0])
            rest = answer[1]


def _next(sock: socket.socket, buffer: bytes) -> tuple[Answer, bytes] | None:
    while b"\r\n\r\n" not in buffer:
        part = sock.recv(65536)
        if not part:
            assert not buffer, buffer
            return None
        buffer += part
    head, _, body = buffer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    length = int(headers["content-length"])
    while len(body) < length:
        part = sock.recv(65536)
        assert part, "the answer was cut short"
        body += part
    return Answer(int(status.split()[1]), headers, body[:length]), body[length:]
