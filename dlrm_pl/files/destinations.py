"""Kinds of existing outputs: links are followed, and devices are distinguished from files."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

from dlrm_pl.errors import OutputError
from dlrm_pl.files.locks import not_writable

STDOUT, STDIN = Path("/dev/stdout"), Path("/dev/stdin")
"""What `-` means as an output and as an input."""

Kind = Literal["nothing", "file", "folder", "sink", "device"]

# The system lists the open files of a process here; /dev/fd is a link to it.
_DESCRIPTORS = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd")
_MOST_LINKS = 40  # As many as Linux follows.


def resolved(path: str | Path) -> Path:
    """Return the absolute path with ``~`` expanded and links followed, even to targets that do not exist."""
    return Path(os.path.realpath(os.path.expanduser(path)))


def kind_of(path: Path) -> Kind:
    """Return what exists at a path.

    Returns:
        ``sink`` for a character device, a pipe, or an open file of this process given by its number, such as
        /dev/stdout: something that takes bytes and has no contents to lose. ``device`` for disks and sockets.

    Raises:
        OutputError: the system denies access to the path.
    """
    if descriptor_of(path) is not None:
        return "sink"
    try:
        mode = os.stat(resolved(path)).st_mode
    except FileNotFoundError:
        return "nothing"
    except OSError as error:
        raise not_writable(path, error) from error
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "sink" if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) else "device"


def descriptor_of(path: Path) -> int | None:
    """Return the number of the open file that a path like /dev/stdout or /dev/fd/63 refers to; None for others."""
    place = os.path.abspath(os.path.expanduser(path))
    for _ in range(_MOST_LINKS):
        folder, name = os.path.realpath(os.path.dirname(place)), os.path.basename(place)
        process = _DESCRIPTORS.fullmatch(folder)
        if process and int(process[1]) == os.getpid() and name.isdigit():
            return int(name)
        if not os.path.islink(os.path.join(folder, name)):
            return None
        place = os.path.join(folder, os.readlink(os.path.join(folder, name)))
    return None


def check_file(path: str | Path, overwrite: bool, *, sinks: bool = False) -> None:
    """Check in advance that a file can be written.

    Args:
        path: the file.
        overwrite: whether an existing file may be replaced.
        sinks: whether the path may also be a character device or a pipe.

    Raises:
        OutputError: the path is a folder or a device, or a file that may not be replaced.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "folder":
        raise OutputError(f"{path}: is a folder, not a file. Choose another name.")
    if kind == "device" or (kind == "sink" and not sinks):
        raise OutputError(f"{path}: is {_what(path)}, not a file. Choose another name.")
    if kind == "file" and not overwrite and resolved(path).stat().st_size:
        raise OutputError(f"{path}: already exists. Give --overwrite to replace it, or choose another name.")


def holds(path: Path, content: bytes) -> bool:
    """Return whether a path is a file with this content, so that writing it again would change nothing.

    A file of another size is not read.

    Raises:
        OutputError: the system denies access to the path.
    """
    place = resolved(path)
    try:
        return kind_of(path) == "file" and place.stat().st_size == len(content) and place.read_bytes() == content
    except OSError as error:
        raise not_writable(path, error) from error


def check_is_no_file(folder: Path) -> None:
    """Raise OutputError if something other than a folder exists at a path."""
    kind = kind_of(folder)
    if kind not in ("nothing", "folder"):
        what = "a file" if kind == "file" else _what(folder)
        raise OutputError(f"{folder}: is {what}, not a folder. Choose another name.")


def _what(path: Path) -> str:
    """Return the name of a device's kind, for messages."""
    if descriptor_of(path) is not None:
        return "an open file of this process"
    mode = os.stat(resolved(path)).st_mode
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
