"""Ctrl-C while Ray is in use: it is noted, and raised at a point where none of Ray's code is running."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Whether ctrl-C was pressed since the block of ``noted_interrupts`` began."""

    def __init__(self) -> None:
        self._noted = self._raised = False
        self.earlier: Any = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note the first ctrl-C; the second takes effect at once."""
        if self._noted:
            self.earlier(number, frame)
        self._noted = True

    def check(self) -> None:
        """Raise a noted ctrl-C, once.

        Raises:
            KeyboardInterrupt: ctrl-C was pressed.
        """
        if self._noted and not self._raised:
            self._raised = True
            raise KeyboardInterrupt


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Note ctrl-C until the block ends, and raise it then if it was not raised before.

    An exception in the middle of Ray's code can leave threads of its library behind, which then end the process with
    status 1 and their own stack trace. Outside the main thread, or if ctrl-C is ignored, this changes nothing.
    """
    interrupts = Interrupts()
    interrupts.earlier = signal.getsignal(signal.SIGINT)
    try:
        taken = callable(interrupts.earlier) and signal.signal(signal.SIGINT, interrupts.note)
    except ValueError:  # Not the main thread.
        taken = None
    try:
        yield interrupts
    finally:
        if taken:
            signal.signal(signal.SIGINT, interrupts.earlier)
    interrupts.check()
