"""Ray, which starts tasks on machines, and restarts them elsewhere if a machine is lost."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from dlrm_pl.data.preprocessing.cluster.interrupts import Interrupts, noted_interrupts
from dlrm_pl.data.preprocessing.cluster.local_node import start_node
from dlrm_pl.data.preprocessing.cluster.outcome import Outcome, outcome_of
from dlrm_pl.errors import ClusterError
from dlrm_pl.extras import missing_extra

LOCAL = "local"
"""Address of a cluster of only this machine, which is started for the run."""

_RETRIES = 25  # For a task whose machine or process is lost.
_ANSWER_S = 10.0
_NOTICED_S = 0.5  # Maximum time from ctrl-C until it is raised.
_NOT_IMPORTED = "failed to import on the worker"  # In Ray's message.
_STORE_BYTES = 80 << 20  # Only paths and small numbers go through the object store.


class Note(NamedTuple):
    """The latest progress that a task has noted.

    Attributes:
        done: amount of work done, in the unit of the task's weight.
        rows: number of rows that are done.
        stage: current stage, for a task that has stages of its own; otherwise empty.
        share: share of this stage that is done.
    """

    done: int
    rows: int
    stage: str
    share: float


NOTHING = Note(0, 0, "", 0.0)
"""Note of a task that has not reported anything yet."""


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster.

    Attributes:
        id: Ray's identifier of the machine.
        name: name for messages.
        cpus: number of processors that the machine offers.
        memory_bytes: memory that the machine offers.
    """

    id: str
    name: str
    cpus: int
    memory_bytes: int


class RayCluster:
    """A connection to a Ray cluster; made by ``ray_cluster``.

    Args:
        ray: Ray's module.
        interrupts: notes ctrl-C, which ``wait`` then raises.
    """

    def __init__(self, ray: Any, interrupts: Interrupts | None = None) -> None:
        self._ray = ray
        self._interrupts = interrupts or Interrupts()
        self._call = ray.remote(outcome_of)
        self._board: Any = None
        self._asked: Any = None
        self._noted: dict[str, Note] = {}

    def machines(self) -> list[Machine]:
        """Return the machines that are alive and offer processors."""
        machines = []
        for node in self._ray.nodes():
            resources = node["Resources"]
            if node["Alive"] and resources.get("CPU", 0) >= 1:
                name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, node {node['NodeID'][:8]})"
                machines.append(Machine(node["NodeID"], name, int(resources["CPU"]), int(resources.get("memory", 0))))
        return sorted(machines, key=lambda machine: machine.id)

    def start(
        self, function: Callable[..., Any], *arguments: Any, cpus: int, name: str, machine: Machine | None = None
    ) -> Any:
        """Start a task; returns a handle.

        Args:
            function: function in a module that all machines have.
            arguments: its arguments.
            cpus: number of processors that the task takes.
            name: name of the task, for Ray's own messages.
            machine: machine that the task must run on; None for any.
        """
        strategy: Any = "SPREAD"
        if machine is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            strategy = NodeAffinitySchedulingStrategy(machine.id, soft=False)
        task = self._call.options(
            num_cpus=cpus, max_retries=0 if machine else _RETRIES, name=name, scheduling_strategy=strategy
        )
        return task.remote(function, arguments)

    def wait(self, tasks: Sequence[Any], timeout_s: float) -> list[Any]:
        """Wait until one of the tasks has ended, or the timeout; returns all that have ended.

        Raises:
            KeyboardInterrupt: ctrl-C was pressed.
        """
        until = time.monotonic() + timeout_s
        ended: list[Any] = []
        while not ended and (left := until - time.monotonic()) > 0:
            self._interrupts.check()
            ended, _ = self._ray.wait(list(tasks), num_returns=1, timeout=min(left, _NOTICED_S))
        self._interrupts.check()
        if ended:
            ended, _ = self._ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
        return list(ended)

    def outcome(self, task: Any, name: str) -> Outcome:
        """Return the outcome of a task that has ended.

        Raises:
            ClusterError: the task was lost more often than it is restarted, or its machine does not have this program.
        """
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(task)
        except errors.RayTaskError as error:
            if _NOT_IMPORTED not in str(error):
                raise  # A bug in this program.
            raise ClusterError(
                f"{name}: Ray's Python on that machine cannot import dlrm-pl "
                f"({str(error).strip().splitlines()[-1]}). Install this machine's version there."
            ) from error
        except errors.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise ClusterError(
                f"{name}: was lost with its machine or process ({_RETRIES} times in a row, if it was restarted) "
                f"({type(error).__name__}: {reason}). See Ray's logs on that machine; a lack of memory is often the "
                "reason."
            ) from error
        return outcome

    def cancel(self, tasks: Sequence[Any]) -> None:
        """Stop tasks, and wait until they have stopped."""
        for task in tasks:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(task, force=True)
        if tasks:
            self._ray.wait(list(tasks), num_returns=len(tasks), timeout=30)

    def board(self) -> Any:
        """Return the board on which tasks note their progress, to be passed to ``note``."""
        if self._board is None:
            self._board = self._ray.remote(_Board).options(num_cpus=0, max_restarts=-1).remote()
        return self._board

    def read_board(self) -> dict[str, Note]:
        """Return the latest numbers of each task, as far as the board has answered."""
        if self._asked is None:
            self._asked = self._board.read.remote()
        if self._ray.wait([self._asked], timeout=0)[0]:
            with suppress(self._ray.exceptions.RayError):  # The board may be lost together with its machine.
                self._noted = self._ray.get(self._asked)
            self._asked = None
        return self._noted


class _Board:
    """Numbers that tasks note while they run; lives in its own process."""

    def __init__(self) -> None:
        self._noted: dict[str, Note] = {}

    def note(self, name: str, done: int, rows: int, stage: str, share: float) -> None:
        self._noted[name] = Note(done, rows, stage, share)

    def read(self) -> dict[str, Note]:
        return self._noted


@contextmanager
def ray_cluster(address: str) -> Iterator[RayCluster]:
    """Connect to a cluster, or start one on this machine only, until the block ends.

    Args:
        address: ``local``, ``auto``, or the address of a cluster.

    Raises:
        ConfigurationError: Ray is not installed.
        ClusterError: there is no cluster at the address, or it has other versions of Python or Ray.
    """
    try:
        import ray
    except ImportError as error:
        raise missing_extra(f"--cluster {address} needs Ray", "cluster", error) from None
    with noted_interrupts() as interrupts:
        if ray.is_initialized():  # By the calling program, which also shuts it down.
            yield RayCluster(ray, interrupts)
            return
        _require_answer(address)
        with ExitStack() as started:
            try:
                at = start_node(started, _STORE_BYTES) if address == LOCAL else address
                started.callback(ray.shutdown)
                ray.init(at, logging_level=logging.ERROR, log_to_driver=False)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise _unusable(address, str(error).strip().splitlines()[0].rstrip(".")) from error
            interrupts.check()
            yield RayCluster(ray, interrupts)


def _require_answer(address: str) -> None:
    """Check that something listens at an address with a port, since Ray would wait for minutes.

    Raises:
        ClusterError: nothing listens there.
    """
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise _unusable(address, str(error)) from error


def _unusable(address: str, reason: str) -> ClusterError:
    return ClusterError(
        f"--cluster {address}: cannot be used ({reason}). Give local, auto, or the HOST:PORT that `ray start` printed."
    )
