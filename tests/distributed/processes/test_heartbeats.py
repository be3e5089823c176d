"""Other processes notice processes that have ended, failed or stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from torch._C._distributed_c10d import Store

from dlrm_pl.distributed.processes import heartbeats
from dlrm_pl.distributed.processes.heartbeats import Heartbeats
from dlrm_pl.distributed.processes.store import connect

HERE = socket.gethostname()


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> list[Store]:
    monkeypatch.setattr(heartbeats, "INTERVAL_S", 0.05)
    monkeypatch.setattr(heartbeats, "PATIENCE_S", 1.0)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    return [connect("127.0.0.1", port, rank, 10) for rank in range(3)]


def test_all_run(stores: list[Store]) -> None:
    beats = [Heartbeats(store, rank, [f"far:{other}" for other in range(3)]) for rank, store in enumerate(stores)]
    assert beats[0].lost() == {}
    for beat in beats:
        beat.stop()


def test_stopped_process_of_another_machine_is_found(stores: list[Store]) -> None:
    names = [f"far:{rank}" for rank in range(3)]
    beats = [Heartbeats(stores[rank], rank, names) for rank in (0, 1)]
    assert beats[0].lost() == {2: "process 2 on far has ended or is suspended"}
    beats[1].stop()  # On purpose.
    assert beats[0].lost().keys() == {2}
    beats[0].stop()


def test_ended_process_of_this_machine_is_found_at_once(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "PATIENCE_S", 600)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    beats = Heartbeats(stores[0], 0, [f"{HERE}:{os.getpid()}", f"{HERE}:{child.pid}"])
    assert beats.lost() == {1: f"process {child.pid} on {HERE} has ended"}
    beats.stop()


def test_child_that_nobody_has_waited_for_has_ended(stores: list[Store]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read()
        beats = Heartbeats(stores[0], 0, [f"{HERE}:{os.getpid()}", f"{HERE}:{child.pid}"])
        assert beats.lost() == {1: f"process {child.pid} on {HERE} has ended"}
        beats.stop()


def test_reason_of_a_process_is_told(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "PATIENCE_S", 600)
    names = [f"far:{rank}" for rank in range(3)]
    beats = [Heartbeats(store, rank, names) for rank, store in enumerate(stores)]
    beats[2].report("ValueError: a reason")
    assert beats[0].lost() == beats[1].lost() == {2: "process 2 on far: ValueError: a reason"}
    for beat in beats:
        beat.stop()
