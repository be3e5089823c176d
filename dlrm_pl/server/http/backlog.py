"""Stop new connections before a listening socket is closed, which would reset those that wait to be accepted."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_FLAGS_AT = 13  # Byte of a TCP header.
# Classic BPF on the TCP header: load the flags, keep SYN and ACK, and drop what has SYN alone.
_PROGRAM = struct.pack(
    "=" + "HBBI" * 5,
    *(0x30, 0, 0, _FLAGS_AT),
    *(0x54, 0, 0, 0x12),
    *(0x15, 0, 1, 0x02),
    *(0x06, 0, 0, 0),
    *(0x06, 0, 0, 0xFFFFFFFF),
)


def stop_new_connections(sock: socket.socket) -> None:
    """Let the system ignore attempts to connect, while connections that are complete can still be accepted.

    A client tries again a second later and is then refused, as nothing listens any more. On systems other than Linux
    nothing is changed.
    """
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    described = struct.pack("@HP", len(_PROGRAM) // 8, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
