"""Entry point of the program: ctrl-C and closed pipes leave no traceback, from its first line to its last."""

from __future__ import annotations

# No other imports here: modules that load slowly are imported once ctrl-C is handled.
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TextIO

EXIT_INTERRUPTED = 130  # 128 + SIGINT, which shells and make expect from a program that ctrl-C ended.
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, which shells see when the reader of a pipe has exited, as in `| head`.


def program() -> int:
    """Run the command line as a separate process; returns the exit status."""
    _open_what_is_closed()
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        # Nothing has started yet that needs an orderly shutdown, and an import could swallow a KeyboardInterrupt.
        signal.signal(signal.SIGINT, _end_at_once)
    from dlrm_pl.cli.main import program as command_line

    try:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = _status_of(command_line)
        if interruptible:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # The rest takes no time and is not interrupted.
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    status = _flushed(status)
    if _is_done():
        _end(status)
    return status


def _status_of(command_line: Callable[[], int]) -> int:
    """Return the exit status, also where it is raised as an exception."""
    try:
        return command_line()
    except BrokenPipeError as error:
        if error.filename is None and not _reader_has_gone():
            raise  # Another pipe, not standard output or standard error.
        return EXIT_BROKEN_PIPE
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich turns a BrokenPipeError into SystemExit.
            return EXIT_BROKEN_PIPE
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        raise


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


def _open_what_is_closed() -> None:
    """Open a closed standard stream (as by `>&-`) on /dev/null, before one of our files gets its descriptor."""
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
    """Whether nothing needs an orderly shutdown; Python would spend 0.2 s tearing down torch's modules."""
    if "torch" not in sys.modules or "pytorch_lightning" in sys.modules:
        return False  # There is little to tear down, or there is a Trainer with ranks and workers.
    import multiprocessing
    import threading

    return threading.active_count() == 1 and not multiprocessing.active_children()


def _end(status: int) -> None:
    """Run the exit handlers, and end the process without tearing down its modules."""
    import atexit

    atexit._run_exitfuncs()
    os._exit(_flushed(status))


def _flushed(status: int) -> int:
    """Flush the output streams; Python would do so at exit, with a traceback if it fails."""
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
    """Discard what is still in a stream's buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
