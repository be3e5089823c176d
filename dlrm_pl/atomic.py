"""Files and folders that appear whole or not at all.

Everything is written under a temporary name next to its target and renamed at the end, so that a crash, a full
disk or ctrl-C never leaves something that looks finished.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from dlrm_pl.errors import OutputError
from dlrm_pl.locks import folder_lock, not_writable


def check_replaceable(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Check, before the work, that a folder may be written at its end.

    Raises:
        OutputError: it is a file, holds something that ``is_ours`` does not recognise, or cannot be written.
    """
    if folder.exists():
        if not folder.is_dir():
            raise OutputError(f"{folder}: is a file, but a folder is to be written. Choose another name.")
        if any(folder.iterdir()) and not is_ours(folder):
            raise OutputError(
                f"{folder}: holds files that this command did not write, and will not be replaced. "
                "Choose another folder, or empty this one."
            )
        if not os.access(folder, os.W_OK):
            # Its parent may be writable, but what it holds could not be removed.
            raise OutputError(f"{folder}: is read-only and cannot be replaced. Choose a folder that you may write.")
    with folder_lock(folder):
        pass


@contextmanager
def atomic_folder(folder: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces ``folder`` when the block ends without an error.

    Args:
        folder: the target. Missing, empty, or something that ``is_ours`` recognises, which is then replaced.
        is_ours: tells whether an existing folder is an earlier output of the same kind, safe to replace.

    Raises:
        OutputError: the target holds something else, is being written by another process, or is read-only.
    """
    folder = Path(os.path.abspath(folder))
    check_replaceable(folder, is_ours)
    with folder_lock(folder):
        temporary = folder.parent / f".{folder.name}.tmp"
        retired = folder.parent / f".{folder.name}.old"
        try:
            # Left behind by a killed run; ours, since we hold the lock.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        except OSError as error:
            raise not_writable(folder, error) from error
        try:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                if path.is_file():
                    _sync(path)
            shutil.rmtree(retired, ignore_errors=True)
            if folder.exists():
                folder.rename(retired)
            temporary.rename(folder)
            _sync(folder.parent)
        except OSError as error:
            _locate(error, folder)
            raise
        finally:
            if retired.exists() and not folder.exists():
                retired.rename(folder)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def atomic_file(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Yield an open file, text or binary, that becomes ``path`` when the block ends without an error.

    What a killed process left of an earlier attempt is removed first.

    Raises:
        OutputError: the folder of ``path`` cannot be made or written.
    """
    path = Path(os.path.abspath(path))
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        handle = temporary.open(mode, encoding="utf-8" if mode == "w" else None)
        with suppress(OSError):  # A file system without locks; leftovers then stay.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise not_writable(path, error) from error
    try:
        with handle:
            yield handle
        _sync(temporary)
        temporary.rename(path)
    except OSError as error:
        _locate(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` whose writer is gone, here or on another machine that shares the folder."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = leftover.name.removesuffix(".tmp").rpartition(".")[2]
        if not writer.isdigit() or Path(f"/proc/{writer}").exists():
            continue
        with suppress(OSError), leftover.open("rb") as handle:  # Removed by another process, or locked by its writer.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def _sync(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locate(error: OSError, path: Path) -> None:
    """Name the output in the error of a full disk, which has no name where a write failed."""
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        error.filename = str(path)
