"""A cluster in this process: its tasks run one after the other, but not in the order in which they were started."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dlrm_pl.data.preprocessing.cluster import run
from dlrm_pl.data.preprocessing.cluster.outcome import Outcome, outcome_of
from dlrm_pl.data.preprocessing.cluster.ray_cluster import Machine, Note


class ClusterHere:
    """A stand-in for ``RayCluster``.

    Args:
        machines: number of machines.
        before_task: called with the name of each task before it runs; its exceptions count as errors of the cluster.
        times: how often each task runs; more than once if a machine was thought to be lost.
    """

    def __init__(self, machines: int, before_task: Callable[[str], None] = lambda name: None, times: int = 1) -> None:
        self.num_machines = machines
        self.names: list[str] = []
        self.cancelled: list[str] = []
        self._before_task = before_task
        self._times = times
        self._started: dict[int, tuple[str, bytes]] = {}

    def machines(self) -> list[Machine]:
        return [Machine(str(number), f"machine {number}", 2, 1 << 34) for number in range(self.num_machines)]

    def start(
        self, function: Callable[..., Any], *arguments: Any, cpus: int, name: str, machine: Machine | None = None
    ) -> int:
        handle = len(self.names)
        self.names.append(name)
        # Pass arguments as the tasks of a real cluster receive them.
        self._started[handle] = name, pickle.dumps((function, arguments))
        return handle

    def wait(self, tasks: Sequence[int], timeout_s: float) -> list[int]:
        return [max(tasks)]

    def outcome(self, task: int, name: str) -> Outcome:
        its_name, call = self._started[task]
        self._before_task(its_name)
        for _ in range(self._times):
            function, arguments = pickle.loads(call)
            outcome = outcome_of(function, arguments)
        return pickle.loads(pickle.dumps(outcome))  # type: ignore[no-any-return]

    def cancel(self, tasks: Sequence[int]) -> None:
        self.cancelled += [self._started[task][0] for task in tasks]

    def board(self) -> Any:
        return _Board()

    def read_board(self) -> dict[str, Note]:
        return {}


class _Board:
    """A board that nobody reads."""

    class note:  # noqa: N801
        @staticmethod
        def remote(name: str, done: int, rows: int, stage: str, share: float) -> None: ...


@contextmanager
def cluster_here(cluster: ClusterHere) -> Iterator[ClusterHere]:
    """Let ``preprocess`` use a cluster in this process, whatever its address."""

    @contextmanager
    def connected(address: str) -> Iterator[ClusterHere]:
        yield cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "ray_cluster", connected)
        yield cluster
