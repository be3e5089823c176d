"""Name of the program, its exit statuses, and how much it prints."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_WRONG_INPUT = 2
EXIT_NOT_ACCEPTED = 3
EXIT_UNDECIDED = 4
EXIT_INTERRUPTED = 130

_SWITCH_S = 0.0005

_CHECKOUT = Path(__file__).parents[1] / "cli.py"


def program_name() -> str:
    """Return the name that the program was started by; in other programs, one that it can be started by."""
    started = Path(sys.argv[0]).name
    if started == "dlrm-pl" or (started != "cli.py" and not _CHECKOUT.is_file()):
        return "dlrm-pl"
    return "python cli.py"


def is_quiet() -> bool:
    """Return whether `--quiet` was given: then no progress is shown."""
    return logging.getLogger("dlrm_pl").level >= logging.WARNING


def is_first_process() -> bool:
    """Return whether this is the first, or only, training process, according to the launcher."""
    machine = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0" and machine == "0"


@contextmanager
def threads_switching_soon(seconds: float = _SWITCH_S) -> Iterator[None]:
    """Make all threads of this process hand over the interpreter soon when another one waits for it.

    Args:
        seconds: how long a thread may go on running Python code while another one waits; Python's default is 5 ms.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, seconds))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
