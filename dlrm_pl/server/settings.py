"""Settings of a server."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.server.batching.batcher import BatchLimits
from dlrm_pl.server.models.served import LoadSettings


@dataclass(frozen=True)
class Limits:
    """Limits on what a client may use.

    Attributes:
        rows: maximum number of rows per request.
        body_bytes: maximum size of a request body, also after decompression.
        held_bytes: maximum total size of all bodies that are held at a time.
        head_bytes: maximum size of a request line with headers.
        connections: maximum number of connections.
        request_s: seconds within which a request must arrive and a response must be read.
        idle_s: seconds that an idle connection is kept.
        drain_s: seconds to answer the requests that are pending when the server is told to stop.
    """

    rows: int = 8192
    body_bytes: int = 16 << 20
    held_bytes: int = 256 << 20
    head_bytes: int = 32 << 10
    connections: int = 1000
    request_s: float = 30.0
    idle_s: float = 75.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        """Check that every limit is above 0."""
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigurationError(f"{name}={value} must be above 0.")


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server, except for its models.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0: a free one.
        limits: limits on what a client may use.
        batching: how requests are batched.
        loading: how artifacts are loaded.
        log_requests: whether each request is logged.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    limits: Limits = field(default_factory=Limits)
    batching: BatchLimits = field(default_factory=BatchLimits)
    loading: LoadSettings = field(default_factory=LoadSettings)
    log_requests: bool = False
