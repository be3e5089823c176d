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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from dlrm_pl.errors import OutputError
from dlrm_pl.files.complete_io import sync_path
from dlrm_pl.files.destinations import check_file, descriptor_of, kind_of, resolved
from dlrm_pl.files.locks import folder_lock, not_writable
from dlrm_pl.files.replacement import PlannedOutput, Recognizer, discard


@contextmanager
def atomic_folder(folder: Path, planned: PlannedOutput) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces ``folder`` when the block ends without an error.

    Args:
        folder: the target, or a link to it: missing, empty, or a folder that ``planned`` may replace.
        planned: what will be written, and what it may replace.

    Raises:
        OutputError: the target holds something else, is being written by another process, or is read-only.
    """
    named, folder = folder, resolved(folder)
    with writing(named, planned):
        temporary = folder.parent / f".{folder.name}.tmp"
        try:
            # Left by a killed run. It belongs to this program, since we hold the lock.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        except OSError as error:
            raise not_writable(folder, error) from error
        try:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                if path.is_file():
                    sync_path(path)
            replace_folder(folder, temporary, planned.recognize)
        except OSError as error:
            _locate(error, folder)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(folder: Path, planned: PlannedOutput) -> Iterator[None]:
    """Hold the lock of a folder that may be replaced, and repair what a killed run has left of it.

    Raises:
        OutputError: the folder may not be replaced, see ``PlannedOutput.check``, or another process is writing it.
    """
    planned.check(folder)
    folder = resolved(folder)
    with folder_lock(folder):
        retired = _retired(folder)
        if retired.exists() and not folder.exists():
            retired.rename(folder)
        elif retired.exists():
            discard(retired, planned.recognize(retired))
            if retired.exists():
                raise OutputError(
                    f"{retired}: was left by a run that replaced {folder}, and is in the way. Move it away."
                )
        planned.check(folder)  # Again: another process may have finished it meanwhile.
        yield


def check_folder(folder: Path, planned: PlannedOutput) -> None:
    """Check in advance that a folder can be written.

    Raises:
        OutputError: see ``writing``.
    """
    with writing(folder, planned):
        pass


def replace_folder(folder: Path, new: Path, recognize: Recognizer) -> None:
    """Put a finished folder in its place; the caller holds the lock, and has seen that it may be replaced."""
    retired = _retired(folder)
    found = recognize(folder)
    if folder.exists():
        folder.rename(retired)
    try:
        new.rename(folder)
    except BaseException:
        if retired.exists():
            retired.rename(folder)
        raise
    sync_path(folder.parent)
    if retired.exists():
        discard(retired, found)


def _retired(folder: Path) -> Path:
    """The name of an earlier folder while a new one takes its place."""
    return folder.parent / f".{folder.name}.old"


@contextmanager
def atomic_file(path: Path, mode: Literal["w", "wb"] = "w", *, sinks: bool = False) -> Iterator[IO[Any]]:
    """Yield an open file, text or binary, that becomes ``path`` when the block ends without an error.

    Leftovers of an earlier attempt by a killed process are removed first. If the path is a link, the file that it
    points to is replaced.

    Args:
        path: the file.
        mode: text or binary.
        sinks: whether the path may also be a character device or a pipe, which is then written to directly.

    Raises:
        OutputError: the folder of ``path`` cannot be created or written, or the path exists and is not a file.
    """
    check_file(path, overwrite=True, sinks=sinks)
    if kind_of(path) == "sink":
        with _open_sink(path, mode) as handle:
            yield handle
        return
    temporary, path, handle = temporary_file(path, mode)
    try:
        with handle:
            yield handle
        sync_path(temporary)
        temporary.rename(path)
    except OSError as error:
        _locate(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_file(path: Path, mode: Literal["w", "wb"] = "w") -> tuple[Path, Path, IO[Any]]:
    """Open a new file, locked, that the caller renames or removes.

    Leftovers of an earlier attempt by a killed process are removed first.

    Returns:
        The path of the new file, the path that it is to be renamed to (if ``path`` is a link, the file that it points
        to), and the open file.

    Raises:
        OutputError: the folder of ``path`` cannot be created or written.
    """
    path = resolved(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        handle = temporary.open(mode, encoding=_encoding(mode))
        with suppress(OSError):  # If the file system has no locks, leftovers stay.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise not_writable(path, error) from error
    return temporary, path, handle


@contextmanager
def _open_sink(path: Path, mode: Literal["w", "wb"]) -> Iterator[IO[Any]]:
    """Open a device or pipe for direct writing; an open file of this process is continued at its position."""
    descriptor = descriptor_of(path)
    try:
        opened = os.open(resolved(path), os.O_WRONLY) if descriptor is None else os.dup(descriptor)
        handle = os.fdopen(opened, mode, encoding=_encoding(mode))
    except OSError as error:
        raise not_writable(path, error) from error
    try:
        with handle:
            yield handle
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _encoding(mode: Literal["w", "wb"]) -> str | None:
    return "utf-8" if mode == "w" else None


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` whose writer is gone, here or on another machine that shares the folder."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = leftover.name.removesuffix(".tmp").rpartition(".")[2]
        if not writer.isdigit() or Path(f"/proc/{writer}").exists():
            continue
        with suppress(OSError), leftover.open("rb") as handle:  # Removed by another process, or locked by its writer.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def _locate(error: OSError, path: Path) -> None:
    """Name the output in the error of a full disk or a size limit, which has no name where a write failed."""
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        error.filename = str(path)
