"""Folders of sharded checkpoints: they appear, replace earlier ones, and are removed as a whole."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from dlrm_pl.errors import OutputError
from dlrm_pl.files.complete_io import sync_path
from dlrm_pl.files.locks import not_writable
from dlrm_pl.model.checkpoints.sharded.names import DENSE_NAME, MARKER_NAME, is_sharded

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_NOT_POSSIBLE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_OURS = re.compile(rf"{re.escape(MARKER_NAME)}|{re.escape(DENSE_NAME)}|part-\d+\.pt")


def make_temporary(path: Path, identity: str) -> Path:
    """Make the folder that a checkpoint is written to, and remove what killed runs have left of earlier attempts.

    Args:
        path: where the checkpoint will be.
        identity: random text.

    Raises:
        OutputError: something other than a checkpoint exists there, or the folder cannot be written.
    """
    if path.is_dir() and not path.is_symlink() and not is_sharded(path) and any(path.iterdir()):
        raise OutputError(f"{path}: is a folder, but not a sharded checkpoint, so it is not replaced. Move it away.")
    temporary = path.parent / f".{path.name}.{identity}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
    except OSError as error:
        raise not_writable(path, error) from error
    return temporary


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished folder its name; an earlier checkpoint of that name exists until then, and is removed after.

    If the system cannot exchange two names at once, there is a moment when neither checkpoint has the name.
    """
    if path.exists() or path.is_symlink():
        if not _exchange(temporary, path):
            old = path.parent / f"{temporary.name.removesuffix('.tmp')}.old.tmp"
            path.rename(old)
            temporary.rename(path)
            temporary = old
        remove(temporary)
    else:
        temporary.rename(path)
    sync_path(path.parent)


def remove(path: Path) -> None:
    """Remove a checkpoint, or a link to one; a folder first loses its name, then its files.

    Files that are not part of a checkpoint are kept.
    """
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    if not path.is_dir():
        return
    if not path.name.endswith(".tmp"):
        hidden = path.parent / f".{path.name}.removed.tmp"
        shutil.rmtree(hidden, ignore_errors=True)
        path = path.rename(hidden)
    names = [name for name in os.listdir(path) if _OURS.fullmatch(name)]
    for name in sorted(names, key=lambda name: name != MARKER_NAME):
        (path / name).unlink()
    with suppress(OSError):
        path.rmdir()


def give_second_name(first: Path, path: Path, copies: bool = False) -> bool:
    """Give a checkpoint a second name: a folder with the same files, which appears whole or not at all.

    Args:
        first: the checkpoint.
        path: its second name; an earlier checkpoint of this name is replaced.
        copies: whether to copy the files if the file system has no hard links.

    Returns:
        False if the file system has no hard links and ``copies`` is false.
    """
    temporary = make_temporary(path, secrets.token_hex(8))
    try:
        names = [name for name in os.listdir(first) if _OURS.fullmatch(name)]
        for name in sorted(names, key=lambda name: name == MARKER_NAME):
            try:
                os.link(first / name, temporary / name)
            except OSError:
                if not copies:
                    return False
                shutil.copyfile(first / name, temporary / name)
                sync_path(temporary / name)
        sync_path(temporary)
        put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names at once; False if the system or the file system cannot do that."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # The C library does not have it.
        return False
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_POSSIBLE:
        return False
    raise OSError(number, os.strerror(number), str(second))
