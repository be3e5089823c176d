"""A child process that ends while the others wait for it is named, with its signal or status, by all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from torch._C._distributed_c10d import TCPStore

from dlrm_pl.distributed.processes.children import watched_children
from dlrm_pl.distributed.processes.store import connect, wait_for_all
from dlrm_pl.errors import ProcessError


def shell(command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", command])


@pytest.mark.parametrize(
    ("command", "how"), [("kill -KILL $$", "was killed by SIGKILL"), ("exit 3", "ended with status 3")]
)
def test_child_that_ends_while_it_starts_is_named_by_all(command: str, how: str) -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    stores = [connect("127.0.0.1", server.port, rank, 30, attempt=1) for rank in (1, 1)]
    children = [shell("exec sleep 60"), shell(command)]
    starting = children[0]
    began = time.monotonic()
    with pytest.raises(ProcessError, match=rf"^rank 2 {how} while it started"):  # noqa: SIM117
        with watched_children(children, 1, stores[0]):
            wait_for_all(stores[0], 0, 3, 30)
    with pytest.raises(ProcessError, match=f"^rank 2 {how}"):
        wait_for_all(stores[1], 1, 3, 30)
    assert time.monotonic() - began < 25
    assert children == []  # Lightning's thread, which looks at the same list, has nothing left to kill for.
    assert starting.wait(10) == -signal.SIGKILL


def test_nothing_is_told_of_children_that_run() -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    store = connect("127.0.0.1", server.port, 1, 30, attempt=2)
    child = shell("exec sleep 60")
    try:
        with watched_children([child], 1, store):
            store.set("process/1", f"here:{os.getpid()}")
            assert wait_for_all(store, 0, 2, 10)[1] == f"here:{os.getpid()}"
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
