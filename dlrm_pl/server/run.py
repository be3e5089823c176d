"""Run a server in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import uvicorn

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.program import threads_switching_soon
from dlrm_pl.server.http.application import Application
from dlrm_pl.server.http.backlog import stop_new_connections
from dlrm_pl.server.http.connections import connection_class
from dlrm_pl.server.http.metrics import Metrics
from dlrm_pl.server.http.tokens import Token
from dlrm_pl.server.models.registry import Registry
from dlrm_pl.server.models.served import ServedModel
from dlrm_pl.server.settings import ServerSettings

log = logging.getLogger(__name__)

_WATCH_S = 0.25
_DRAIN_LOOK_S = 0.05
_BACKLOG_S = 0.1
_SWITCH_S = 0.0001


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet, so that an address in use is reported at once.

    Raises:
        ConfigurationError: the address is in use or does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"host={host}, port={port}: cannot listen on this address ({error.strerror or error}). Give another "
            "--port, or 0 for a free one. The --host must be an address of this machine."
        ) from None
    return sock


def load_models(folders: Mapping[str, Path], settings: ServerSettings, metrics: Metrics) -> Registry:
    """Load the models to serve.

    Args:
        folders: folders by name of the model.
        settings: settings of the server.
        metrics: where batches are counted.

    Raises:
        ArtifactError: no version of a model can be served, because it is damaged or was not accepted.
    """

    def observer(name: str) -> Callable[[int, int], None]:
        return lambda requests, rows: metrics.batch(name, rows)

    models = [
        ServedModel(name, folder, settings.loading, settings.batching, observer(name))
        for name, folder in folders.items()
    ]
    for model in models:
        for message in model.refused_at_start:
            served = ", ".join(model.versions)
            log.error("refused: %s Version %s is served.", message, served, extra={"model": model.name})
            metrics.swaps[model.name, "refused"] += 1
    return Registry(models)


class Server(uvicorn.Server):
    """Server of an application that, when told to stop, first answers pending requests.

    Args:
        application: answers the requests.
        settings: settings of the server.
        started: called with the URL once connections are accepted.
    """

    def __init__(self, application: Application, settings: ServerSettings, started: Callable[[str], None]) -> None:
        self.application = application
        self.settings = settings
        self._started = started
        self.stop_signal: int | None = None
        config = uvicorn.Config(
            application,
            http=connection_class(settings.limits, application.metrics),
            loop="uvloop",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=2048,
            timeout_keep_alive=int(max(1, settings.limits.idle_s)),
        )
        super().__init__(config)
        # Connections are read before their requests are answered, so the count includes requests that arrive together.
        tasks = self.server_state.tasks
        application.count_requests = lambda: len(tasks)

    def stop(self) -> None:
        """Begin to stop; called in the event loop's thread."""
        self.application.is_draining = True
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, check for newer models on SIGHUP; a second SIGINT ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Signals only reach the main thread; to stop a server in another thread, call ``stop``.
            return
        loop = asyncio.get_running_loop()

        def end(number: int) -> None:
            if self.stop_signal is not None and number == signal.SIGINT:
                self.force_exit = True
            elif self.stop_signal is None:
                log.info("%s: answering pending requests, then stopping", signal.Signals(number).name)
            self.stop_signal = self.stop_signal or number
            self.stop()

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.getsignal(number) for number in (*numbers, signal.SIGHUP)}
        for number in numbers:
            loop.add_signal_handler(number, end, number)
        loop.add_signal_handler(signal.SIGHUP, self._look_again)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _look_again(self) -> None:
        async def look() -> None:
            for model in self.application.registry.models.values():
                await self.application.refresh(model, again=True)

        self._hangup = asyncio.ensure_future(look())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        assert sockets
        host, port = sockets[0].getsockname()[:2]
        self._started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        self._tasks = [asyncio.create_task(self._watch())]
        if self.settings.loading.poll_s:
            self._tasks.append(asyncio.create_task(self._poll(self.settings.loading.poll_s)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, answer pending requests, and close."""
        for sock in sockets or ():
            stop_new_connections(sock)
        await asyncio.sleep(_BACKLOG_S)  # Those that were connected already are accepted.
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.limits.drain_s
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            # A further request on a connection is answered, with a notice that this is the last response; a connection
            # without one is closed after a moment.
            for connection in list(self.server_state.connections):
                connection.look(loop.time(), is_draining=True)  # type: ignore[union-attr]
            await asyncio.sleep(_DRAIN_LOOK_S)
        for task in self._tasks:
            task.cancel()
        left = len(self.server_state.tasks)
        if left:
            log.warning("%d requests were not answered within %g seconds", left, self.settings.limits.drain_s)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for request in list(self.server_state.tasks):
            request.cancel()
        self.application.registry.close()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_WATCH_S)
            for connection in list(self.server_state.connections):
                connection.look(loop.time())  # type: ignore[union-attr]

    async def _poll(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            for model in self.application.registry.models.values():
                await self.application.refresh(model)


def serve(
    folders: Mapping[str, Path],
    settings: ServerSettings,
    token: Token | None = None,
    started: Callable[[str], None] = lambda url: None,
) -> int | None:
    """Load models and serve them until SIGTERM or SIGINT.

    Args:
        folders: folders by name of the model.
        settings: settings of the server.
        token: token that requests must carry; None: no token is required.
        started: called with the URL once connections are accepted.

    Returns:
        The signal that stopped the server.

    Raises:
        ConfigurationError: the server cannot listen on the address.
        ArtifactError: no version of a model can be served, because it is damaged or was not accepted.
    """
    sock = listen(settings.host, settings.port)
    with sock:
        metrics = Metrics()
        registry = load_models(folders, settings, metrics)
        application = Application(registry, settings.limits, metrics, token, log_requests=settings.log_requests)
        server = Server(application, settings, started)
        # Exclude the libraries' million objects from later collections, which would take a tenth of a second each.
        gc.collect()
        gc.freeze()
        try:
            # Keep the event loop responsive while a model is loaded: a request waits for the GIL up to four times until
            # it is answered.
            with threads_switching_soon(_SWITCH_S):
                server.run(sockets=[sock])
        finally:
            gc.unfreeze()
    return server.stop_signal
