"""Settings of a server."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.server.batching.batcher import BatchLimits
from dlrm_pl.server.models.served import LoadSettings


@dataclass(frozen=True)
class Limits:
    """What one client may take of a server.

    Attributes:
        rows: largest number of rows of a request.
        body_bytes: largest body of a request, also after it was unpacked.
        held_bytes: largest size of all bodies that are held at a time.
        head_bytes: largest request line with headers.
        connections: largest number of connections.
        request_s: seconds for a request to arrive, and for a response to be taken.
        idle_s: seconds that a connection without a request is kept.
        drain_s: seconds for the requests that are there when the server is told to stop.
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
    """Settings of a server, but for its models.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0: a free one.
        limits: what one client may take.
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
