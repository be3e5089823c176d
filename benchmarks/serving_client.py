"""Clients of ``serving.py``: one connection in a closed loop, and many with arrivals at random times.

They write prepared bytes to a socket and read as much of an answer as its length says, so that what is measured is the
server. ``tritonclient`` is measured beside them.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


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


def _read(sock: socket.socket) -> None:
    buffer = sock.recv(1 << 16)
    while (length := _length(buffer)) is None or len(buffer) < length:
        part = sock.recv(1 << 16)
        if not part:
            raise ConnectionError("the server closed the connection")
        buffer += part
    if not buffer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(buffer[:500].decode())


def _length(buffer: bytes) -> int | None:
    """Return the length of the answer that a buffer begins with; None if its head has not ended."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = buffer.find(b"content-length: ", buffer.find(b"\ncontent-type"), end)
    if at < 0:
        at = buffer.find(b"content-length: ")
    # The other header with a length is preceded by "inference-header-".
    while buffer[at - 1 : at] != b"\n":
        at = buffer.find(b"content-length: ", at + 1, end)
    return end + 4 + int(buffer[at + 16 : buffer.find(b"\r", at)])


@dataclass
class OpenLoop:
    """What clients saw that send at random times, whether they were answered or not.

    Attributes:
        sent_at: when each request was due, in seconds from the start.
        seconds: time from then to its answer.
        failed: number of requests without an answer of status 200.
    """

    sent_at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def percentile(self, percent: float, within: Callable[[float], bool] = lambda at: True) -> float:
        """Return a percentile of the milliseconds of those that were sent at some times."""
        kept = [value for at, value in zip(self.sent_at, self.seconds, strict=True) if within(at)]
        return 1000 * float(np.percentile(kept, percent)) if kept else float("nan")


class _Client(asyncio.Protocol):
    """A connection that has at most one request at a time."""

    def __init__(self, done: Callable[[_Client, bool], None]) -> None:
        self.done = done
        self.buffer = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        length = _length(self.buffer)
        if length is not None and len(self.buffer) >= length:
            good = self.buffer.startswith(b"HTTP/1.1 200")
            self.buffer = b""
            self.done(self, good)


async def poisson(
    port: int, requests: list[bytes], rate: float, seconds: float, connections: int, seed: int = 0
) -> OpenLoop:
    """Send single requests at the times of a Poisson process, each on a connection that is free.

    A request that finds none waits, and its time counts from when it was due.
    """
    loop = asyncio.get_running_loop()
    result = OpenLoop()
    free: list[_Client] = []
    waiting: list[float] = []
    began = loop.time()
    finished = asyncio.Event()
    rng = random.Random(seed)
    sent = answered = 0

    def done(client: _Client, good: bool) -> None:
        nonlocal answered
        answered += 1
        result.sent_at.append(client.due - began)
        result.seconds.append(loop.time() - client.due)
        result.failed += not good
        if waiting:
            start(client, waiting.pop(0))
        else:
            free.append(client)
        if is_over and answered == sent:
            finished.set()

    def start(client: _Client, due: float) -> None:
        client.send(requests[rng.randrange(len(requests))], due)

    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _Client(done), "127.0.0.1", port)
        free.append(client)
    is_over = False
    began = due = loop.time()
    while due - began < seconds:
        await asyncio.sleep(max(0.0, due - loop.time()))
        while due <= loop.time() and due - began < seconds:
            sent += 1
            if free:
                start(free.pop(), due)
            else:
                waiting.append(due)
            due += rng.expovariate(rate)
    is_over = True
    if answered < sent:
        try:
            await asyncio.wait_for(finished.wait(), 30)
        except TimeoutError:
            result.failed += sent - answered
    return result
