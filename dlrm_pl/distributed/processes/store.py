"""Store through which processes announce themselves to each other, in addition to torch's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from datetime import timedelta

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from dlrm_pl.errors import ConfigurationError, ProcessError

_ENDED = "!"
"""First character of what stands in place of a process's machine and number if it has ended."""


def connect(address: str, port: int, rank: int, timeout_s: float, attempt: int = 0) -> Store:
    """Connect to the store of a training run, which is served by the first process or by torchrun.

    Torch's own process group uses the same server.

    Args:
        address: name or address of the machine that serves the store.
        port: port on that machine.
        rank: number of this process.
        timeout_s: seconds to wait for the first process.
        attempt: number of the training run in this process; messages from other runs are ignored.

    Raises:
        ConfigurationError: another program uses the port.
        ProcessError: the first process does not answer.
    """
    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = TCPStore(
            address, port, None, serves, timedelta(seconds=timeout_s), wait_for_workers=False, multi_tenant=True
        )
    except dist.DistNetworkError as error:
        if serves:
            raise ConfigurationError(
                f"Port {port} of {address} is in use by another program, so the processes cannot connect to each "
                f"other there ({_first_line(error)}). Set MASTER_PORT to a free port, or give torchrun another "
                "--master_port."
            ) from error
        raise _no_first(address, port, timeout_s, error) from error
    except dist.DistStoreError as error:
        raise _no_first(address, port, timeout_s, error) from error
    return PrefixStore(f"dlrm_pl/{_restarts()}/{attempt}", store)


def _restarts() -> str:
    """How often torchrun has restarted these processes, if they use the same store each time.

    They do on one machine: torch's own keys, such as the addresses of processes that have ended, are then still in it.
    On several machines, the store is a new one each time, and torchrun's counts differ between them.
    """
    several = os.environ.get("GROUP_WORLD_SIZE", "1") != "1"
    return "0" if several else os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def wait_for_all(store: Store, rank: int, ranks: int, timeout_s: float) -> list[str]:
    """Wait until all processes have connected.

    Returns:
        The machine and process number of each, as ``HOST:NUMBER``.

    Raises:
        ProcessError: some processes did not connect in time, or one has ended; the message names them.
    """
    store.set(_key(rank), f"{socket.gethostname()}:{os.getpid()}")
    try:
        store.wait([_key(other) for other in range(ranks)], timedelta(seconds=timeout_s))
    except (dist.DistStoreError, dist.DistNetworkError, RuntimeError) as error:
        missing = [other for other in range(ranks) if not _has(store, _key(other))]
        if not missing:
            raise
        names = ", ".join(f"rank {other}" for other in missing)
        raise ProcessError(
            f"{names} of {ranks} did not start within {timeout_s:g} s. Start as many processes as trainer.devices "
            "and trainer.num_nodes state, and check the output of the missing ones."
        ) from error
    found = [store.get(_key(other)).decode() for other in range(ranks)]
    for name in found:
        if name.startswith(_ENDED):
            raise ProcessError(
                f"{name.removeprefix(_ENDED)} while it started, and training needs all processes. Its own "
                "output, or the system's log if memory was short, says why."
            )
    return found


def tell_ended(store: Store, ranks: Iterable[int], how: str) -> None:
    """Tell the processes that wait for each other that one has ended.

    Args:
        store: store of the training run.
        ranks: numbers of the processes that will not connect: this one, and those that were ended because of it.
        how: how it ended, such as ``rank 1 was killed by SIGKILL``.
    """
    for rank in ranks:
        store.set(_key(rank), _ENDED + how)


def _key(rank: int) -> str:
    return f"process/{rank}"


def _has(store: Store, key: str) -> bool:
    try:
        return bool(store.check([key]))
    except (dist.DistStoreError, dist.DistNetworkError, RuntimeError):
        return False


def _no_first(address: str, port: int, timeout_s: float, error: Exception) -> ProcessError:
    return ProcessError(
        f"rank 0 did not start within {timeout_s:g} s: nothing answers on port {port} of {address} "
        f"({_first_line(error)}). Start it too, or correct MASTER_ADDR and MASTER_PORT."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
