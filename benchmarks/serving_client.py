"""Clients of ``serving.py``: one connection in a closed loop, and many with arrivals at random times.

They write prepared bytes to a socket and read as much of an answer as its length says, so that they measure the server
alone. ``tritonclient`` is measured beside them.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n")
_END_S = 30.0


def binary_request(rows: int, table_rows: int, seed: int, name: str = "model") -> bytes:
    """Return a request of random rows of MLPerf's shape, as binary tensors."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 50, (rows, 13)).astype("<f4")
    ids = rng.integers(0, table_rows, (rows, 26)).astype("<i8")
    inputs = [
        {"name": key, "datatype": kind, "shape": list(values.shape), "parameters": {"binary_data_size": values.nbytes}}
        for key, kind, values in (("dense", "FP32", dense), ("indices", "INT64", ids))
    ]
    outputs = [{"name": "probability", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    body = head + dense.tobytes() + ids.tobytes()
    lines = (
        f"POST /v2/models/{name}/infer HTTP/1.1",
        "Host: loopback",
        f"Inference-Header-Content-Length: {len(head)}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def closed_loop(port: int, requests: list[bytes], seconds: float) -> list[float]:
    """Send one request after the other on one connection; returns the seconds of each, after a tenth to warm up."""
    times: list[float] = []
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = 0
        while (now := time.perf_counter()) - began < 1.1 * seconds:
            sock.sendall(requests[sent % len(requests)])
            _read(sock)
            if now - began > 0.1 * seconds:
                times.append(time.perf_counter() - now)
            sent += 1
    return times


def get(sock: socket.socket, path: str) -> bytes:
    """Return the body of an answer, on a connection that is kept."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: loopback\r\n\r\n".encode())
    return _read(sock).partition(b"\r\n\r\n")[2]


def _read(sock: socket.socket) -> bytes:
    buffer = sock.recv(1 << 16)
    while (length := _length(buffer)) is None or len(buffer) < length:
        part = sock.recv(1 << 16)
        if not part:
            raise ConnectionError("the server closed the connection")
        buffer += part
    if not buffer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(buffer[:500].decode())
    return buffer


def _length(buffer: bytes) -> int | None:
    """Return the length of the answer that a buffer begins with; None if its head has not ended."""
    end = buffer.find(b"\r\n\r\n")
    found = _LENGTH.search(buffer, 0, end + 2) if end >= 0 else None
    return end + 4 + int(found[1]) if found else None


@dataclass
class OpenLoop:
    """What clients that send at random times, whether or not they have been answered, saw.

    Attributes:
        sent_at: when each request was due, in seconds from the start.
        seconds: time from then to its answer.
        failed: number of requests without an answer of status 200.
        processor_s: processor time of the clients.
        began: the start, by ``time.perf_counter``.
    """

    sent_at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    processor_s: float = 0.0
    began: float = 0.0

    @property
    def per_s(self) -> float:
        """Requests a second, from the first that was due to the last answer."""
        ends = [at + seconds for at, seconds in zip(self.sent_at, self.seconds, strict=True)]
        return len(ends) / (max(ends) - min(self.sent_at))

    def percentile(self, percent: float, within: Callable[[float], bool] = lambda at: True) -> float:
        """Return a percentile of the milliseconds of the requests that were due at some times."""
        kept = [value for at, value in zip(self.sent_at, self.seconds, strict=True) if within(at)]
        return 1000 * float(np.percentile(kept, percent)) if kept else float("nan")


class _Clients:
    """Connections that have at most one request at a time, in one thread."""

    def __init__(self, port: int, connections: int) -> None:
        self.socks: dict[int, socket.socket] = {}
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socks[sock.fileno()] = sock
        self.free = list(self.socks)
        self.due: dict[int, float] = {}
        """For connections that wait for an answer: when the request was due."""
        self.parts: dict[int, bytes] = {}

    def send(self, request: bytes, due: float) -> None:
        number = self.free.pop()
        self.socks[number].sendall(request)
        self.due[number] = due

    def receive(self, number: int) -> bytes | None:
        """Read what has come; returns the answer when it is complete."""
        data = self.socks[number].recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed a connection")
        buffer = self.parts.pop(number, b"") + data
        length = _length(buffer)
        if length is not None and len(buffer) >= length:
            self.free.append(number)
            return buffer
        self.parts[number] = buffer
        return None


def poisson(port: int, requests: list[bytes], rate: float, seconds: float, connections: int, seed: int = 0) -> OpenLoop:
    """Send ``rate * seconds`` single requests at the times of a Poisson process, each on a connection that is free.

    A request that finds none waits, and its time counts from when it was due.
    """
    rng = np.random.default_rng(seed)
    # Given their number, the times of a Poisson process are uniformly distributed.
    dues = deque(np.sort(rng.uniform(0, seconds, round(rate * seconds))).tolist())
    chosen = rng.integers(0, len(requests), len(dues)).tolist()
    result = OpenLoop()
    clients = _Clients(port, connections)
    clock = time.perf_counter
    processor = time.process_time()
    result.began = began = clock()
    while (dues or clients.due) and (now := clock() - began) < seconds + _END_S:
        while dues and dues[0] <= now and clients.free:
            clients.send(requests[chosen[len(dues) - 1]], dues.popleft())
        wait = max(0.0, dues[0] - (clock() - began)) if dues and clients.free else 1.0
        for number in select.select(list(clients.due), [], [], wait)[0]:
            answer = clients.receive(number)
            if answer is not None:
                due = clients.due.pop(number)
                result.sent_at.append(due)
                result.seconds.append(clock() - began - due)
                result.failed += not answer.startswith(b"HTTP/1.1 200")
    result.failed += len(dues) + len(clients.due)
    result.processor_s = time.process_time() - processor
    for sock in clients.socks.values():
        sock.close()
    return result
