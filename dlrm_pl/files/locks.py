"""Exclusive right to write a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlrm_pl.errors import OutputError

# This is long enough for a holder that is just releasing the lock; after that, the error names the holder.
_PATIENCE_S = 0.1
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class InUseError(OutputError):
    """Another process is writing a folder."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the exclusive right to write ``folder`` (which need not exist) until the block ends.

    The operating system locks the file ``.NAME.lock`` next to the folder, so the lock ends with its process, even if
    that is killed. The file contains the process id and is removed before the lock is released. A process that locked a
    file which was removed meanwhile creates the file again.

    Raises:
        InUseError: another process holds the lock.
        OutputError: the parent folder is not writable, or its file system has no locks.
    """
    # Imported here: it takes a tenth of a second, which commands without an output need not spend.
    from filelock import FileLock, Timeout

    path = folder.parent / f".{folder.name}.lock"
    lock = FileLock(path, timeout=_PATIENCE_S, poll_interval=_PATIENCE_S / 20, fallback_to_soft=False)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        # The lock is tried again where its file cannot be created, as if another process had just removed it.
        if (refusal := _refusal(path)) is not None:
            raise _no_lock(folder, refusal) from refusal
        raise InUseError(
            f"{folder}: is in use: process {_owner(path)} is writing it. Wait for it to finish, or choose another "
            "folder."
        ) from error
    except OSError as error:
        if error.errno in _NO_LOCKS:
            path.unlink(missing_ok=True)  # No process can hold it now.
        raise _no_lock(folder, error) from error
    try:
        try:
            path.write_text(str(os.getpid()), encoding="ascii")
        except OSError as error:
            raise _no_lock(folder, error) from error
        yield
    finally:
        with suppress(OSError):  # The file system may have become read-only; a leftover lock file is harmless.
            path.unlink(missing_ok=True)
        lock.release()


def _refusal(path: Path) -> OSError | None:
    """Return why a lock file cannot be created; None if it can be, or exists."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return None
    except OSError as error:
        return error
    path.unlink(missing_ok=True)
    return None


def _owner(path: Path) -> str:
    """Return the number of the process that holds a lock."""
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    return "unknown"


def _no_lock(folder: Path, error: OSError) -> OutputError:
    if error.errno in _NO_LOCKS:
        return OutputError(
            f"{folder}: the file system cannot lock files ({error.strerror}), and without a lock two commands could "
            "write this folder at once. Choose a folder on another file system."
        )
    return not_writable(folder, error)


def not_writable(path: Path, error: OSError) -> OutputError:
    """Return the error for an output that the operating system refuses."""
    return OutputError(f"{path}: cannot be written ({error.strerror}). Choose a folder that you can write to.")
