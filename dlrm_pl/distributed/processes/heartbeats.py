"""Heartbeats: each process increments a counter in a store, so that the others can tell which one has ended."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist
from torch._C._distributed_c10d import Store

INTERVAL_S = 0.5
PATIENCE_S = 4.0
"""A process that has not counted for this long is no longer running, or is suspended."""

_STORE_ERRORS = (dist.DistStoreError, dist.DistNetworkError, RuntimeError)


class Heartbeats:
    """A thread that counts while this process runs, and checks the counts of the others.

    Args:
        store: store of the training run.
        rank: number of this process.
        names: machine and number of each process, as ``HOST:NUMBER``.
    """

    def __init__(self, store: Store, rank: int, names: Sequence[str]) -> None:
        self._store, self._rank, self._names = store, rank, list(names)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell the others that this process is leaving on purpose."""
        if not self._ended.is_set():
            self._ended.set()
            self._set("left", "")

    def report(self, reason: str) -> None:
        """Tell the others why this process is failing."""
        self._set("reason", reason)

    def lost(self) -> dict[int, str]:
        """Return the processes that have ended or stalled; this may take ``PATIENCE_S``.

        Returns:
            What is known about each of them, by its number; empty if all processes are running.
        """
        before = self._counts()
        until = time.monotonic() + PATIENCE_S
        while True:
            if before is None:
                return {0: f"{self._place(0)} does not answer"}
            if found := self._reasons() | self._ended_here():
                return found
            if time.monotonic() >= until:
                now = self._counts()
                if now is None:
                    return {0: f"{self._place(0)} does not answer"}
                return {
                    rank: f"{self._place(rank)} has ended or is suspended"
                    for rank, count in now.items()
                    if count == before[rank] and rank != self._rank and not self._has("left", rank)
                }
            time.sleep(INTERVAL_S / 2)

    def _beat(self) -> None:
        count = 0
        while not self._ended.wait(INTERVAL_S):
            count += 1
            with suppress(*_STORE_ERRORS):  # The first process has ended; others that wait for it notice.
                self._store.set(f"count/{self._rank}", str(count))

    def _counts(self) -> dict[int, str] | None:
        """Return the counts of all processes; None if the store does not answer."""
        try:
            return {
                rank: self._store.get(f"count/{rank}").decode() if self._store.check([f"count/{rank}"]) else ""
                for rank in range(len(self._names))
            }
        except _STORE_ERRORS:
            return None

    def _reasons(self) -> dict[int, str]:
        """Return the messages that other processes left before they ended."""
        found = {}
        with suppress(*_STORE_ERRORS):
            for rank in range(len(self._names)):
                if rank != self._rank and self._has("reason", rank):
                    found[rank] = f"{self._place(rank)}: {self._store.get(f'reason/{rank}').decode()}"
        return found

    def _ended_here(self) -> dict[int, str]:
        """Return the processes of this machine that do not run any more."""
        found = {}
        for rank, name in enumerate(self._names):
            host, _, number = name.rpartition(":")
            if (
                host == socket.gethostname()
                and rank != self._rank
                and not _runs(number)
                and not self._has("left", rank)
            ):
                found[rank] = f"{self._place(rank)} has ended"
        return found

    def _place(self, rank: int) -> str:
        host, _, number = self._names[rank].rpartition(":")
        return f"process {number} on {host}"

    def _has(self, kind: str, rank: int) -> bool:
        try:
            return bool(self._store.check([f"{kind}/{rank}"]))
        except _STORE_ERRORS:
            return False

    def _set(self, kind: str, text: str) -> None:
        with suppress(*_STORE_ERRORS):
            self._store.set(f"{kind}/{self._rank}", text)


def _runs(number: str) -> bool:
    """Whether a process of this machine is running; one that has ended may still exist as a zombie."""
    if int(number) == os.getpid():
        return True
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
