"""A real server on a free loopback port, in a thread of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.server.batching.batcher import BatchLimits
from dlrm_pl.server.http.application import Application
from dlrm_pl.server.http.metrics import Metrics
from dlrm_pl.server.http.tokens import Token
from dlrm_pl.server.models.served import LoadSettings
from dlrm_pl.server.run import Server, listen, load_models
from dlrm_pl.server.settings import Limits, ServerSettings


@dataclass(frozen=True)
class Running:
    """A server that accepts connections."""

    port: int
    server: Server
    thread: threading.Thread

    @property
    def metrics(self) -> Metrics:
        return self.server.application.metrics

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self) -> None:
        """Tell it to stop, as SIGTERM does, and wait until it has."""
        self.server.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()


@contextmanager
def running(
    folders: Mapping[str, Path],
    *,
    limits: Limits | None = None,
    batching: BatchLimits | None = None,
    loading: LoadSettings | None = None,
    token: Token | None = None,
) -> Iterator[Running]:
    settings = ServerSettings(
        port=0,
        limits=limits or Limits(),
        batching=batching or BatchLimits(),
        loading=loading or LoadSettings(poll_s=0),
    )
    sock = listen(settings.host, settings.port)
    # The system's minimum instead of loopback's megabytes, so that a server soon has to wait.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    port = sock.getsockname()[1]
    metrics = Metrics()
    registry = load_models(folders, settings, metrics)
    started = threading.Event()
    server = Server(Application(registry, settings.limits, metrics, token), settings, lambda url: started.set())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="server")
    thread.start()
    try:
        assert started.wait(60)
        found = Running(port, server, thread)
        yield found
    finally:
        server.stop()
        server.force_exit = True
        thread.join(60)
        sock.close()
