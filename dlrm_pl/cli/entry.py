"""Entry point of the program: ctrl-C and closed pipes leave no traceback, from its first line to its last."""

from __future__ import annotations

# Nothing else here: what takes time to load is loaded once ctrl-C is taken care of.
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TextIO

EXIT_INTERRUPTED = 130  # 128 + SIGINT, what shells and make expect of a program that ctrl-C ended.
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, what shells see of a program whose reader has gone, as in `| head`.


def program() -> int:
    """Run the command line as a process of its own; returns the exit status."""
    _open_what_is_closed()
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        # Nothing is begun that would have to be ended in order, and an exception may be lost in an import.
        signal.signal(signal.SIGINT, _end_at_once)
    from dlrm_pl.cli.main import program as command_line

    try:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = _status_of(command_line)
        if interruptible:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # What is left takes no time, and is done.
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    status = _flushed(status)
    if _is_done():
        _end(status)
    return status


def _status_of(command_line: Callable[[], int]) -> int:
    """The exit status, where an exception is one."""
    try:
        return command_line()
    except BrokenPipeError as error:
        if error.filename is None and not _reader_has_gone():
            raise  # Another pipe, not one that the user has to do with.
        return EXIT_BROKEN_PIPE
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # As rich makes of it.
            return EXIT_BROKEN_PIPE
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        raise


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


def _open_what_is_closed() -> None:
    """Give a standard stream that was closed, as by `>&-`, to /dev/null, before a file of ours gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process)


def _reader_has_gone() -> bool:
    """Whether the output or the error output is a pipe that nobody reads any more."""
    import select

    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _is_done() -> bool:
    """Whether nothing is left that has to be ended in order: Python would take the modules of torch apart for 0.2 s."""
    if "torch" not in sys.modules or "pytorch_lightning" in sys.modules:
        return False  # There is little to take apart, or a Trainer has ranks and workers.
    import multiprocessing
    import threading

    return threading.active_count() == 1 and not multiprocessing.active_children()


def _end(status: int) -> None:
    """End the process after what was registered for its end, without taking its modules apart."""
    import atexit

    atexit._run_exitfuncs()
    os._exit(_flushed(status))


def _flushed(status: int) -> int:
    """Write out what is still held back; Python would do it at its end, with a traceback where it fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _discard(stream)
            status = status or EXIT_BROKEN_PIPE
        except OSError as error:
            _discard(stream)
            if status == 0:
                print(f"error: The output cannot be written ({error.strerror}).", file=sys.stderr)
                status = 2
    return status


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
