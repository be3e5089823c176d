"""Outcome of a cluster task as a value, including errors in the user's input and full disks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dlrm_pl.errors import DLRMError


class MachineError(OSError):
    """An operating system error on a machine.

    Args:
        number: number of the error.
        text: the system's error text.
        machine: name of the machine.
    """

    def __init__(self, number: int, text: str, machine: str) -> None:
        super().__init__(number, f"{text} (on {machine})")
        self.machine = machine


@dataclass(frozen=True)
class Outcome:
    """The result of a task, or why it has none.

    Attributes:
        value: what the function returned.
        error: error that the user can act on.
        failure: number and text of an error of the operating system.
        machine: name of the machine.
    """

    value: Any = None
    error: DLRMError | None = None
    failure: tuple[int, str] | None = None
    machine: str = ""

    def result(self) -> Any:
        """Return the value.

        Raises:
            DLRMError: the input or the options are at fault.
            OSError: a file could not be read or written; the message names the machine.
        """
        if self.error is not None:
            raise self.error
        if self.failure is not None:
            number, text = self.failure
            raise MachineError(number, text, self.machine)
        return self.value


def outcome_of(function: Callable[..., Any], arguments: Sequence[Any]) -> Outcome:
    """Call a function and return its outcome."""
    try:
        return Outcome(function(*arguments), machine=socket.gethostname())
    except DLRMError as error:
        return Outcome(error=type(error)(str(error)), machine=socket.gethostname())
    except OSError as error:
        if error.errno is None:
            raise
        text = str(error).partition("] ")[2] or str(error)
        return Outcome(failure=(error.errno, text), machine=socket.gethostname())
