"""Ctrl-C while Ray is in use is raised between its calls, never in the middle of one."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from dlrm_pl.data.preprocessing.cluster.interrupts import noted_interrupts
from dlrm_pl.data.preprocessing.cluster.ray_cluster import RayCluster


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_noted_until_the_end_of_the_block() -> None:
    reached = False
    earlier = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), noted_interrupts():
        press()
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is earlier


def test_raised_where_it_is_checked_and_once() -> None:
    with noted_interrupts() as interrupts:
        interrupts.check()
        press()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        interrupts.check()


def test_an_error_of_the_block_comes_first() -> None:
    with pytest.raises(OSError, match="full"), noted_interrupts():
        press()
        raise OSError("full")


def test_the_second_time_ends_at_once() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), noted_interrupts():
        press()
        press()
        reached = True
    assert not reached


def test_ignored_where_it_was_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noted_interrupts():
            press()
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_another_thread_changes_nothing() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with noted_interrupts() as interrupts:
                interrupts.check()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def test_waiting_for_tasks_ends_soon() -> None:
    class Ray:
        calls = 0

        def remote(self, function: Any) -> None: ...

        def wait(self, tasks: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
            self.calls += 1
            assert timeout <= 0.5
            press()
            return [], tasks

    ray = Ray()
    with noted_interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            RayCluster(ray, interrupts).wait(["task"], 60)
        assert ray.calls == 1
