"""Child processes that end while a training starts, which Lightning answers by killing this process too."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch._C._distributed_c10d import Store

from dlrm_pl.distributed.processes.store import tell_ended

_LOOK_S = 0.2


@contextmanager
def watched_children(processes: list[subprocess.Popen[bytes]], first_rank: int, store: Store) -> Iterator[None]:
    """While processes wait for each other, tell all of them if one that this process started has ended.

    The other children are then killed, and the list is emptied: Lightning would otherwise kill this process within
    five seconds, before it can report anything.

    Args:
        processes: processes that Lightning started.
        first_rank: number of the first of them.
        store: store of the training run.
    """
    if not processes:
        yield
        return
    done = threading.Event()
    # A store answers one thread at a time, and the other one waits in it.
    own = store.clone()  # type: ignore[attr-defined]

    def watch() -> None:
        while not done.wait(_LOOK_S):
            for place, process in enumerate(processes):
                if status := process.poll():
                    ranks = range(first_rank, first_rank + len(processes))
                    for other in processes:
                        other.kill()
                        other.wait()
                    processes.clear()
                    tell_ended(own, ranks, f"rank {first_rank + place} {_how(status)}")
                    return

    thread = threading.Thread(target=watch, name="starting-children", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _how(status: int) -> str:
    """Describe how a process ended, by its ``returncode``."""
    if status > 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"was killed by {name}"
