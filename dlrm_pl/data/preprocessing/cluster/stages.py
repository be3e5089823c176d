"""Concurrent tasks of a stage, watched until all have ended, and stopped together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dlrm_pl.data.preprocessing.cluster.ray_cluster import NOTHING, RayCluster
from dlrm_pl.errors import ClusterError

Progress = Callable[[str, float, int], None]
"""Called with the name of the stage, the share of it that is done, and the number of rows since the last call."""

_POLL_S = 0.5
_WATCH_S = 5.0
_LOST_S = 60.0


@dataclass(frozen=True)
class Task:
    """A task of a stage.

    Attributes:
        name: its name, unique within the stage.
        function: function in ``tasks``.
        arguments: arguments of the function after the name and the board.
        cpus: number of processors that the task takes.
        weight: amount of work, in the unit in which the task notes its progress.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    cpus: int
    weight: int = 1


class Stages:
    """Runs one stage's tasks after another's; a context manager that stops the tasks of a failed stage.

    Args:
        cluster: the cluster.
        progress: called from time to time.
    """

    def __init__(self, cluster: RayCluster, progress: Progress) -> None:
        self._cluster = cluster
        self._progress = progress
        self._running: dict[Any, Task] = {}
        self._lost_since: float | None = None
        self._watched = time.monotonic()

    def run(
        self,
        stage: str,
        started: Sequence[Task],
        rows_of: Callable[[Any], int] = lambda result: 0,
        *,
        before: int = 0,
        total: int | None = None,
    ) -> dict[str, Any]:
        """Run tasks and return their results by name.

        Args:
            stage: name of the stage.
            started: the tasks.
            rows_of: returns the number of rows that a task's result stands for.
            before: total weight of the stage's tasks that have already ended.
            total: total weight of all tasks of the stage; None for that of ``started``.

        Raises:
            DLRMError: a task failed, or no machine that could run it is left.
            OSError: a file could not be read or written on some machine.
        """
        board, results = self._cluster.board(), dict[str, Any]()
        for task in started:
            name = f"{stage}: {task.name}"
            handle = self._cluster.start(task.function, name, board, *task.arguments, cpus=task.cpus, name=name)
            self._running[handle] = task
        done, rows, told = before, 0, 0
        total = max(1, total if total is not None else sum(task.weight for task in started))
        while self._running:
            for handle in self._cluster.wait(list(self._running), _POLL_S):
                task = self._running.pop(handle)
                result = self._cluster.outcome(handle, f"{stage}, {task.name}").result()
                results[task.name] = result
                done, rows = done + task.weight, rows + rows_of(result)
            noted = self._cluster.read_board() if self._running else {}
            now, now_rows, shown, share = done, rows, stage, None
            for task in self._running.values():
                note = noted.get(f"{stage}: {task.name}", NOTHING)
                now, now_rows = now + min(note.done, task.weight), now_rows + note.rows
                if note.stage:
                    shown, share = note.stage, note.share
            # A task that is restarted on another machine has done less than before.
            self._progress(shown, min(1.0, now / total) if share is None else share, max(0, now_rows - told))
            told = max(told, now_rows)
            self._watch(max(task.cpus for task in started))
        return results

    def _watch(self, cpus: int) -> None:
        """Stop if no machine that could run a task is left."""
        now = time.monotonic()
        if now - self._watched < _WATCH_S:
            return
        self._watched = now
        if any(machine.cpus >= cpus for machine in self._cluster.machines()):
            self._lost_since = None
            return
        self._lost_since = self._lost_since or now
        if now - self._lost_since > _LOST_S:
            raise ClusterError(
                f"For {_LOST_S:.0f} s, the cluster has had no machine with {cpus} processors. Start one again, and "
                "run the same command to resume."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the tasks that still run."""
        self._cluster.cancel(list(self._running))
