"""Progress of a task, noted for the machine that started the run."""

from __future__ import annotations

import time
from typing import Any

_EVERY_S = 0.5


class Noted:
    """Notes the progress of a task on the board, at most twice a second.

    Args:
        board: the board.
        name: name of the task.
    """

    def __init__(self, board: Any, name: str) -> None:
        self._board = board
        self._name = name
        self._done = self._rows = 0
        self._last = time.monotonic()

    def add(self, done: int, rows: int) -> None:
        """Add finished work, in any unit, and rows."""
        self._done += done
        self._rows += rows
        self._note("", 0.0)

    def tell(self, stage: str, share: float, rows: int) -> None:
        """Note the finished share of a stage, for a task that has its own stages."""
        self._rows += rows
        self._note(stage, share)

    def _note(self, stage: str, share: float) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY_S:
            self._last = now
            self._board.note.remote(self._name, self._done, self._rows, stage, share)
