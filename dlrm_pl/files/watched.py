"""Files that have to stay as they are while they are used: mapped pages follow the file, and nobody is told.

A file that is rewritten in place changes what was read from it, and one that is cut short ends the process that reads a
map of it. A file that another one was renamed over is not touched: who has it open goes on with it. So the file is kept
open, and its size and the time of its last change are compared with what they were; there is no way to see a change
before it happens, nor one whose author puts the time back.
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
    """What tells a file from another one, or from what it was.

    Attributes:
        device: that it is on.
        inode: its number there.
        size: bytes.
        mtime_ns: time of its last change.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: int | Path) -> Self:
        """Of an open file, or of the one that has a name now.

        Raises:
            OSError: there is none.
        """
        now = os.stat(file)
        return cls(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)

    def is_same_file(self, other: FileState) -> bool:
        """Whether it is the same one, changed or not."""
        return (self.device, self.inode) == (other.device, other.inode)

    def __str__(self) -> str:
        """For messages."""
        changed = datetime.fromtimestamp(self.mtime_ns / 1e9).isoformat(" ", "milliseconds")
        return f"{self.size:,} bytes of {changed}"


class WatchedFile:
    """A file that is open, and has to stay as it is.

    Args:
        path: to open.
        error: to raise when it was changed.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, error: type[DLRMError]) -> None:
        self.path, self._error = path, error
        self.descriptor = os.open(path, os.O_RDONLY)
        self.state = FileState.of(self.descriptor)

    def __del__(self) -> None:
        # __init__ may have failed before there was one.
        if (descriptor := getattr(self, "descriptor", None)) is not None:
            os.close(descriptor)

    def check_unchanged(self) -> None:
        """Check that the file is as it was when it was opened, whatever its name means now.

        Raises:
            DLRMError: it was changed in place.
        """
        now = FileState.of(self.descriptor)
        if now != self.state:
            raise self._error(
                f"{self.path}: was changed in place while it was in use: it had {self.state}, and now has {now}. What "
                "was read since then may be wrong: start again. Replace a file by renaming another one to its name: "
                "whoever has the old one open then goes on with it."
            )

    def check_named(self) -> None:
        """Check that the file still has its name, and is as it was: nothing that was read by the name is of another.

        Raises:
            DLRMError: it was changed, replaced or removed.
        """
        self.check_unchanged()
        try:
            same = FileState.of(self.path).is_same_file(self.state)
        except OSError:
            same = False
        if not same:
            raise self._error(f"{self.path}: was replaced or removed while it was being opened. Open it again.")


class Watch:
    """Looks at files now and then.

    Args:
        files: that have to stay as they are.
    """

    def __init__(self, files: Iterable[WatchedFile] = ()) -> None:
        self.files = tuple(files)
        self._next = 0.0

    def glance(self) -> None:
        """Check, if that was not done in the last second: costs nothing where a batch takes less.

        Raises:
            DLRMError: a file was changed in place.
        """
        if time.monotonic() >= self._next:
            self.check()

    def check(self) -> None:
        """Check now; a result is not of two states of the files when this stands at its end.

        Raises:
            DLRMError: a file was changed in place.
        """
        for file in self.files:
            file.check_unchanged()
        self._next = time.monotonic() + _INTERVAL_S

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        """The same files: an open one has no copy."""
        return self
