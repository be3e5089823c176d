"""Serve artifacts over HTTP."""

from __future__ import annotations

import logging
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dlrm_pl.cli.output import Report
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.extras import missing_extra

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LAST_PORT = 65535
_LOOPBACK = ("127.", "::1", "localhost")


def serve(
    artifact: str | None = None,
    model: list[str] | str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: str | None = None,
    threads: int = 1,
    pages: Literal["mapped", "prefault", "huge"] = "mapped",
    checksums: Literal["auto", "always", "never"] = "auto",
    versions: int = 1,
    poll_s: float = 1.0,
    allow_not_accepted: bool = False,
    max_rows: int = 8192,
    max_body_mb: float = 16.0,
    max_connections: int = 1000,
    batch_rows: int = 2048,
    batch_delay_ms: float = 0.0,
    queue_rows: int = 16384,
    request_timeout_s: float = 30.0,
    drain_s: float = 30.0,
    log_requests: bool = False,
) -> Report | None:
    """Serve artifacts over HTTP with the Open Inference Protocol, until SIGTERM or ctrl-C.

    When `quantize` replaces a folder, the new artifact is loaded alongside the old one, checked, and takes its place
    without a failed request. The log goes to standard error, one JSON object per line.

    Args:
        artifact: artifact folder, or a folder with one artifact for each version, in subfolders named by numbers. The
            model is served under the folder's name.
        model: more models, as NAME=DIR or a list of these: [clicks=artifacts/int8,ads=artifacts/ads]. May be given
            several times.
        host: address to listen on. Any address except loopback can be reached from other machines: use --token_file,
            and a proxy that speaks TLS.
        port: port to listen on; 0: any free port, which is printed.
        token_file: file with a token that requests must carry, as the header "Authorization: Bearer TOKEN". Health
            checks need none.
        threads: threads that compute a batch.
        pages: how tables are kept in memory: mapped from the file, read ahead, or copied to 2 MiB pages.
        checksums: files whose checksums are compared before an artifact is served: all, none, or auto (all if they take
            less than 1 GiB together, otherwise only the small ones).
        versions: number of versions of a model to serve; the newest ones in its folder are used.
        poll_s: seconds between two checks for newer versions; 0: check only on SIGHUP or on a load request.
        allow_not_accepted: also serve artifacts that `quantize` did not accept.
        max_rows: maximum number of rows per request.
        max_body_mb: maximum size of a request body in MiB, also after decompression.
        max_connections: maximum number of connections.
        batch_rows: maximum number of rows of several requests that are scored together.
        batch_delay_ms: how long the first request of a batch waits for others; 0: a batch consists of what arrived
            while the previous one was scored.
        queue_rows: maximum number of waiting rows, at least --max_rows; further requests are answered with status 503.
        request_timeout_s: seconds within which a request must arrive, and its response must be read; slower clients are
            disconnected.
        drain_s: seconds to answer the requests that are pending at SIGTERM.
        log_requests: log each request.
    """
    folders = _folders(artifact, [model] if isinstance(model, str) else model or [])
    least = {"threads": threads, "versions": versions, "batch_rows": batch_rows, "max_rows": max_rows}
    _check("at least 1", 1, least | {"max_connections": max_connections})
    _check(
        "at least 0", 0, {"poll_s": poll_s, "batch_delay_ms": batch_delay_ms, "queue_rows": queue_rows, "port": port}
    )
    _check("above 0", 1e-9, {"max_body_mb": max_body_mb, "request_timeout_s": request_timeout_s, "drain_s": drain_s})
    if queue_rows < max_rows:
        raise ConfigurationError(
            f"queue_rows={queue_rows} is below max_rows={max_rows}: a request with more rows than the queue takes "
            "would be refused whenever others wait. Raise --queue_rows or lower --max_rows."
        )
    if port > _LAST_PORT:
        raise ConfigurationError(f"port={port} must be at most {_LAST_PORT}.")
    try:
        import httptools  # noqa: F401
        import uvicorn  # noqa: F401
        import uvloop  # noqa: F401
    except ImportError as error:
        raise missing_extra("serve needs uvicorn, httptools and uvloop", "serve", error) from None
    import torch

    from dlrm_pl.program import EXIT_INTERRUPTED
    from dlrm_pl.server.batching.batcher import BatchLimits
    from dlrm_pl.server.http.logs import json_log
    from dlrm_pl.server.http.tokens import Token
    from dlrm_pl.server.models.served import LoadSettings
    from dlrm_pl.server.run import serve as run
    from dlrm_pl.server.settings import Limits, ServerSettings

    settings = ServerSettings(
        host=host,
        port=port,
        limits=Limits(
            rows=max_rows,
            body_bytes=int(max_body_mb * 2**20),
            connections=max_connections,
            request_s=request_timeout_s,
            drain_s=drain_s,
        ),
        batching=BatchLimits(batch_rows=batch_rows, queue_rows=queue_rows, delay_s=batch_delay_ms / 1000),
        loading=LoadSettings(pages, checksums, allow_not_accepted, versions, poll_s),
        log_requests=log_requests,
    )
    token = None if token_file is None else Token.read(Path(token_file))
    torch.set_num_threads(threads)

    def started(url: str) -> None:
        print(f"serving {', '.join(folders)} at {url}", flush=True)

    with json_log("dlrm_pl", "uvicorn"):
        if token is None and not host.startswith(_LOOPBACK):
            log.warning("host=%s can be reached from other machines, and no token is required: give --token_file", host)
        ended_by = run(folders, settings, token, started)
    if ended_by == signal.SIGINT:
        sys.exit(EXIT_INTERRUPTED)
    return None


def _check(words: str, least: float, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ConfigurationError(f"{name}={value} must be {words}.")


def _folders(artifact: str | None, models: list[str]) -> dict[str, Path]:
    """Return the folders of the models by name."""
    folders: dict[str, Path] = {}
    if artifact is not None:
        path = Path(artifact)
        folders[re.sub(r"[^A-Za-z0-9_.-]", "_", path.resolve().name).lstrip("_.-") or "model"] = path
    for item in models:
        name, separator, folder = item.partition("=")
        if not separator or not folder or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"model={item!r} must be NAME=DIR, where NAME consists of letters, digits, '_', '.' and '-'. For "
                "example: --model clicks=artifacts/int8"
            )
        if name in folders:
            raise ConfigurationError(f"model={item!r}: there are two models named {name!r}. Give them different names.")
        folders[name] = Path(folder).expanduser()
    if not folders:
        raise ConfigurationError("There is nothing to serve: give --artifact DIR, or --model NAME=DIR.")
    return folders
