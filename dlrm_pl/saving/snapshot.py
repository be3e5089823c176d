"""Write a checkpoint directly from its tensors: at once, or in a child process with a snapshot of the memory.

A child process made by fork sees the memory as it was at that moment, while training continues to change it. The system
copies a page when either process changes it, and the child releases what it has written, so memory grows only by the
pages that training changes before they are written.
"""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from dlrm_pl.errors import NonFiniteError, OutputError
from dlrm_pl.files.atomic import atomic_file, temporary_file
from dlrm_pl.files.destinations import check_file
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.memory import available_bytes
from dlrm_pl.saving.layout import Layout
from dlrm_pl.saving.native import Job, library
from dlrm_pl.saving.parts import Digests

log = logging.getLogger(__name__)

_HEADROOM = 1 / 4
"""Share of the available memory that is left free."""


class Snapshot:
    """A checkpoint to be written; its tensors stay where they are.

    Args:
        path: file to write.
        contents: dicts, lists and tuples of plain values and tensors.
        must_be_finite: see ``Layout``.
        digests_of: see ``Layout``.

    Raises:
        CheckpointError: a value has a type that cannot be written.
        OutputError: the disk has too little space, or the path is a folder.
    """

    def __init__(
        self,
        path: Path,
        contents: dict[str, Any],
        must_be_finite: Callable[[Tensor], str | None] = lambda _: None,
        digests_of: Callable[[Tensor], Digests | None] = lambda _: None,
    ) -> None:
        check_file(path, overwrite=True)
        self._path = path
        self._layout = Layout(path, contents, must_be_finite, digests_of)
        require_free_space(path, self._layout.size, "its tensors")

    def write(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            NonFiniteError: a value that must be finite is not; the message names its tensor.
            OSError: the disk is full; an earlier file of this name is kept.
        """
        with atomic_file(self._path, "wb") as handle:
            job = self._job(handle)
            try:
                if not job.write():
                    raise _not_finite(self._path, self._layout, job)
            finally:
                job.close()

    def start(self) -> Writer:
        """Start writing the file in a child process, from the memory as it is now.

        Raises:
            OSError: there is not enough memory for a process; the file can still be written at once.
            OutputError: the file's folder cannot be written.
        """
        temporary, target, handle = temporary_file(self._path, "wb")
        try:
            with handle:  # The child also has the file open, and so holds its lock.
                job = self._job(handle, releases=not self._layout.overlaps)
                try:
                    child = job.fork(temporary, target)
                finally:
                    job.close()
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return Writer(self._path, temporary, self._layout, job, child)

    def start_or_write(self) -> Writer | None:
        """Start writing the file in a child process; if that is impossible, write it at once.

        Returns:
            The child; None if the file is already written.

        Raises:
            NonFiniteError, OSError: see ``write``; if a child writes, its ``wait`` raises them.
        """
        if self.can_start:
            try:
                return self.start()
            except OSError as error:
                if isinstance(error, OutputError):
                    raise
                log.warning(
                    "%s: no second process could be started (%s), so training waits", self._path, error.strerror
                )
        self.write()
        return None

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._layout.size

    @property
    def can_start(self) -> bool:
        """Whether a child would see all tensors as they are now, which fails for memory shared between processes."""
        return _is_private(self._layout.memory)

    @property
    def memory(self) -> list[tuple[int, int]]:
        """Address and size of each tensor."""
        return self._layout.memory

    def _job(self, handle: IO[Any], *, releases: bool = False) -> Job:
        native = library()
        assert native is not None, "the caller has checked that the library exists"
        _bypass_page_cache(handle.fileno())
        return Job(native, handle.fileno(), self._layout.parts, self._layout.patches, releases=releases)


class Writer:
    """A child process that writes a checkpoint."""

    def __init__(self, path: Path, temporary: Path, layout: Layout, job: Job, child: int) -> None:
        self.path = path
        self._temporary = temporary
        self._names = layout.names
        self._layout_size = layout.size
        self._progress = job.progress
        self._child = child
        self._ended = False
        self._status = 0
        self._faults = _page_faults()
        self._limit = (1 - _HEADROOM) * available_bytes()

    @property
    def ended(self) -> bool:
        """Whether the child has ended, successfully or not."""
        if not self._ended:
            self._reap(os.WNOHANG)
        return self._ended

    @property
    def needs_memory(self) -> bool:
        """Whether training must wait until more is written, since the pages that it changes fill the memory."""
        left = self._layout_size - self._progress.written
        copied = (_page_faults() - self._faults) * resource.getpagesize()
        return not self.ended and min(left, copied) > self._limit

    def wait(self) -> None:
        """Wait until the file is complete.

        Raises:
            NonFiniteError: a value that must be finite is not; the message names its tensor.
            OSError: the disk is full; an earlier file of this name is kept.
            OutputError: the child was killed.
        """
        while not self._ended:
            self._reap(0)
        if self._progress.done:
            return
        self._temporary.unlink(missing_ok=True)
        if (bad := self._progress.not_finite) is not None:
            raise not_finite_error(self.path, self._names, bad)
        if (error := self._progress.error) is not None:
            error.filename = str(self.path)
            raise error
        died = f"signal {signal.Signals(-self._status).name}" if self._status < 0 else f"status {self._status}"
        raise OutputError(
            f"{self.path}: was not written, because the process that was writing it ended with {died}. The system "
            "does this when memory runs out. Earlier checkpoints are intact; give --trainer.async_checkpoints false "
            "to write without a second process."
        )

    def _reap(self, options: int) -> None:
        try:
            child, status = os.waitpid(self._child, options)
        except ChildProcessError:  # Other code has waited for all children of this process.
            self._ended = True
            return
        if child:
            self._ended, self._status = True, os.waitstatus_to_exitcode(status)


def not_finite_error(path: Path, names: dict[int, str], bad: tuple[int, int]) -> NonFiniteError:
    """Make the error for a checkpoint with a non-finite value; it names the part and the element."""
    part, element = bad
    return NonFiniteError(
        f"{path}: was not written, because {names[part]} is not finite (element {element:,}): training has diverged. "
        "Earlier checkpoints are intact. Continue from one of them with a lower --model.learning_rate."
    )


def can_write() -> bool:
    """Return whether the native code for snapshots is available."""
    return library() is not None


def _not_finite(path: Path, layout: Layout, job: Job) -> NonFiniteError:
    bad = job.progress.not_finite
    assert bad is not None
    return not_finite_error(path, layout.names, bad)


def _bypass_page_cache(file: int) -> None:
    """Request direct I/O: six times as fast here, measured with 1 GB; not every file system supports it."""
    with suppress(OSError):
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_DIRECT)


def _page_faults() -> int:
    """Count the pages that this process has been given so far, including those that it changed since a fork."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _is_private(memory: Iterable[tuple[int, int]]) -> bool:
    """Whether none of these addresses lies in memory that is shared with other processes."""
    shared = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        places, access = line.split(maxsplit=2)[:2]
        if access[3] == "s":
            start, _, stop = places.partition("-")
            shared.append((int(start, 16), int(stop, 16)))
    return not any(start < last and first < start + size for start, size in memory for first, last in shared)
