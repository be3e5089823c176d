"""Import what programs need, then fork a process for each; runs as a program itself, see ``forked``."""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import types
import warnings
from typing import Any

from tests.support.machine import spare

STATUS = struct.Struct("i")


def serve(listening: socket.socket) -> dict[str, Any] | None:
    """Fork for each request, and report how each process ended.

    Args:
        listening: socket to which pytest's processes connect; each gets a byte once it is connected.

    Returns:
        In a forked process, the request to run; in the server, None once no process is connected any more.
    """
    connected = 0
    with selectors.DefaultSelector() as waiting:
        waiting.register(listening, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is listening:
                    connection, _ = listening.accept()
                    connection.sendall(b"!")
                    waiting.register(connection, selectors.EVENT_READ)
                    connected += 1
                    continue
                if not isinstance(key.fileobj, socket.socket):
                    _report(waiting, key)
                    continue
                message, files, _, _ = socket.recv_fds(key.fileobj, 1 << 20, 4)
                if not message:
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()
                    connected -= 1
                    if not connected:
                        return None
                    continue
                *standard, ended = files
                pid = os.fork()
                if pid == 0:
                    for other in list(waiting.get_map().values()):
                        if isinstance(other.fileobj, socket.socket):
                            other.fileobj.close()
                    os.close(ended)
                    for number, file in enumerate(standard):
                        os.dup2(file, number)
                        os.close(file)
                    return dict(json.loads(message))
                for file in standard:
                    os.close(file)
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, ended))
                key.fileobj.sendall(STATUS.pack(pid))


def _report(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    pid, ended = key.data
    waiting.unregister(key.fileobj)
    os.close(key.fd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(ended, STATUS.pack(status))
    os.close(ended)


def run(program: dict[str, Any]) -> None:
    """Become the program: set its environment, folder and arguments, and run its code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(program["environment"])
    os.chdir(program["folder"])
    sys.argv = program["arguments"]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(program["code"], program["name"], "exec"), main.__dict__)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spare()
    with warnings.catch_warnings(action="ignore"):
        for module in sys.argv[2:]:
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    if (asked := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        run(asked)
