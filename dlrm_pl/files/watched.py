"""Files that must not change while in use: mapped pages change with the file without notice.

Rewriting a file in place changes what was read from a map of it, and cutting it short ends the process that reads the
map. Renaming another file over it does no harm: a process that has the old file open keeps using that. So the file is
kept open, and its size and the time of its last change are compared with their earlier values. A change cannot be
detected before it happens, nor can one after which the time was set back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from dlrm_pl.errors import DLRMError

_INTERVAL_S = 1.0


@dataclass(frozen=True)
class FileState:
    """Identity and state of a file, by which a change or a replacement is detected.

    Attributes:
        device: number of its device.
        inode: number of the file on the device.
        size: size in bytes.
        mtime_ns: time of its last change, in nanoseconds.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: int | Path) -> Self:
        """Return the state of an open file, or of the file at a path.

        Raises:
            OSError: there is no such file.
        """
        now = os.stat(file)
        return cls(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)

    def is_same_file(self, other: FileState) -> bool:
        """Return whether both are states of the same file, changed or not."""
        return (self.device, self.inode) == (other.device, other.inode)

    def __str__(self) -> str:
        """Return the size and the time of the last change, for messages."""
        changed = datetime.fromtimestamp(self.mtime_ns / 1e9).isoformat(" ", "milliseconds")
        return f"{self.size:,} bytes of {changed}"


class WatchedFile:
    """An open file that must not change.

    Args:
        path: file to open.
        error: error to raise if it was changed.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, error: type[DLRMError]) -> None:
        self.path = path
        self._error = error
        self.descriptor = os.open(path, os.O_RDONLY)
        self.state = FileState.of(self.descriptor)

    def __del__(self) -> None:
        # __init__ may have failed before the file was opened.
        if (descriptor := getattr(self, "descriptor", None)) is not None:
            os.close(descriptor)

    def check_unchanged(self) -> None:
        """Check that the file is in the state in which it was opened, whatever its name refers to now.

        Raises:
            DLRMError: the file was changed in place.
        """
        now = FileState.of(self.descriptor)
        if now != self.state:
            raise self._error(
                f"{self.path}: was changed in place while it was in use: it had {self.state}, and now has {now}. "
                "What was read since then may be wrong; start again. To replace a file, rename another one to its "
                "name: programs that have the old file open then keep using it."
            )

    def check_named(self) -> None:
        """Check that the file is unchanged and still has its name, so that what was read by name belongs to it.

        Raises:
            DLRMError: the file was changed, replaced or removed.
        """
        self.check_unchanged()
        try:
            same = FileState.of(self.path).is_same_file(self.state)
        except OSError:
            same = False
        if not same:
            raise self._error(f"{self.path}: was replaced or removed while it was being opened. Open it again.")


class Watch:
    """Checks from time to time that files have not changed.

    Args:
        files: files that must not change.
    """

    def __init__(self, files: Iterable[WatchedFile] = ()) -> None:
        self.files = tuple(files)
        self._next = 0.0

    def glance(self) -> None:
        """Check the files unless they were checked in the last second; cheap enough to call for each batch.

        Raises:
            DLRMError: a file was changed in place.
        """
        if time.monotonic() >= self._next:
            self.check()

    def check(self) -> None:
        """Check now; if this passes at the end, a result does not mix two states of the files.

        Raises:
            DLRMError: a file was changed in place.
        """
        for file in self.files:
            file.check_unchanged()
        self._next = time.monotonic() + _INTERVAL_S

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        """Return the same object, since an open file cannot be copied."""
        return self
