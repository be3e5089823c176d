"""Programs that start with torch, Lightning and the package already imported.

Importing them takes about six seconds of processor time, twice as long as most of these programs need for what they
test. Here, one process imports them once for all tests of a run, and each program is a fork of it: a separate process
with its own signals, environment, folder and output. Tests of a program's start or memory use ``subprocess`` instead.
"""

from __future__ import annotations

import atexit
import errno
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.processes.fork_server import STATUS

_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
_MODULES = ["dlrm_pl.cli.trainer.running"]
_SHARDED = ["torchrec", "dlrm_pl.distributed.strategy"]


class Forked:
    """A started program, with the methods of ``subprocess.Popen`` that tests need."""

    def __init__(
        self,
        code: str,
        arguments: Sequence[object] = (),
        *,
        name: str = "<string>",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        program = {
            "code": code,
            "name": name,
            "arguments": [name, *map(str, arguments)],
            "environment": dict(os.environ) | _ENVIRONMENT | dict(environment or {}),
            "folder": str(Path.cwd()),
        }
        self.returncode: int | None = None
        self._files = [os.memfd_create("stdout"), os.memfd_create("stderr")]
        self._written = ["", ""]
        self._ended, ended = os.pipe()
        with open(os.devnull) as nothing:
            files = [nothing.fileno(), *self._files, ended]
            server = _server()
            socket.send_fds(server, [json.dumps(program).encode()], files)
        os.close(ended)
        self.pid: int = STATUS.unpack(server.recv(STATUS.size))[0]

    def poll(self) -> int | None:
        """Return the status once the program has ended."""
        return self._status(0)

    def wait(self, timeout: float) -> int:
        """Wait for the program; returns its status, or minus the signal's number if a signal ended it."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        return status

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the program; returns its stdout and stderr."""
        self.wait(timeout)
        return self.output(), self.errors()

    def output(self) -> str:
        """Return its stdout so far."""
        return self._text(0)

    def errors(self) -> str:
        """Return its stderr so far."""
        return self._text(1)

    def send_signal(self, number: int) -> None:
        """Send a signal if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it if it has not ended."""
        self.send_signal(signal.SIGKILL)

    def _status(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = STATUS.unpack(os.read(self._ended, STATUS.size))[0]
            self._written = [self._text(0), self._text(1)]
            for file in (self._ended, *self._files):
                os.close(file)
            self._files = []
        return self.returncode

    def _text(self, number: int) -> str:
        if not self._files:
            return self._written[number]
        file = self._files[number]
        return os.pread(file, os.fstat(file).st_size, 0).decode()


def forked_command(*arguments: object, environment: Mapping[str, str] | None = None) -> Forked:
    """Start ``python cli.py`` with these arguments."""
    path = ROOT / "cli.py"
    return Forked(path.read_text(), arguments, name=str(path), environment=environment)


def torchrun_environments(count: int) -> list[dict[str, str]]:
    """Return the variables by which torchrun tells each of ``count`` processes about the others."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    return [
        {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "TORCHELASTIC_RUN_ID": "test",
        }
        for rank in range(count)
    ]


@cache
def _server() -> socket.socket:
    """Return the connection to the forking process, which all processes of one xdist run share."""
    name = f"\0programs of {os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    while True:
        started = None
        with socket.socket(socket.AF_UNIX) as listening:
            try:
                listening.bind(name)
            except OSError as error:  # Another process has started it.
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                listening.listen()
                started = _start(listening.fileno())
        here = socket.socket(socket.AF_UNIX)
        with suppress(ConnectionError):  # It is not listening yet, or ended when its last client did.
            here.connect(name)
            if here.recv(1):
                break
        here.close()
        assert started is None, f"the process that forks ended with {started.wait()}"
        time.sleep(0.01)

    def end() -> None:
        here.close()
        if started is not None:
            started.wait()

    atexit.register(end)
    return here


def _start(listening: int) -> subprocess.Popen[bytes]:
    modules = _MODULES + (_SHARDED if importlib.util.find_spec("torchrec") else [])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.processes.fork_server", str(listening), *modules],
        cwd=ROOT,
        env=os.environ | _ENVIRONMENT,
        pass_fds=[listening],
        stdin=subprocess.DEVNULL,
    )
