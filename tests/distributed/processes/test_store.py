"""Processes that do not come up, and ports that cannot be used, are named."""

from __future__ import annotations

import os
import socket

import pytest

from dlrm_pl.distributed.processes.store import connect, wait_for_all
from dlrm_pl.errors import ConfigurationError, ProcessError


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
    return number


def test_all_are_known_by_machine_and_number(port: int) -> None:
    stores = [connect("127.0.0.1", port, rank, 10) for rank in range(2)]
    stores[1].set("process/1", "elsewhere:7")
    assert wait_for_all(stores[0], 0, 2, 10) == [f"{socket.gethostname()}:{os.getpid()}", "elsewhere:7"]


def test_processes_that_do_not_come_up_are_named(port: int) -> None:
    store = connect("127.0.0.1", port, 0, 10)
    store.set("process/2", "elsewhere:7")
    with pytest.raises(ProcessError, match=r"^rank 1, rank 3 of 4 did not start within 0\.5 s\. Start as many"):
        wait_for_all(store, 0, 4, 0.5)


def test_first_process_that_does_not_come_up_is_named(port: int) -> None:
    with pytest.raises(ProcessError, match=rf"^rank 0 did not start within 1 s: nothing answers on port {port} of"):
        connect("127.0.0.1", port, 1, 1)


def test_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"^Port {port} of 127\.0\.0\.1 is in use by another program"):
            connect("127.0.0.1", port, 0, 5)


def test_keys_of_an_earlier_start_do_not_count(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = connect("127.0.0.1", port, 0, 10)
    first.set("process/1", "elsewhere:7")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(ProcessError, match="rank 1 of 2 did not start"):
        wait_for_all(connect("127.0.0.1", port, 0, 10), 0, 2, 0.5)
