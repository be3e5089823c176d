"""A file of tensors that stays open as long as they are in use."""

from __future__ import annotations

import os
from pathlib import Path

from dlrm_pl.errors import CheckpointError
from dlrm_pl.files.watched import WatchedFile


class OpenFile(WatchedFile):
    """A file that stays open as long as one of its tensors is in use, so that no other file can take its place.

    Args:
        path: path of the file.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, CheckpointError)
        self.size = self.state.size

    def check(self, start: int, size: int) -> None:
        """Check that bytes are still in the file: reading a map of missing bytes would kill the process.

        Raises:
            CheckpointError: the file was shortened or changed in another way.
        """
        now = os.fstat(self.descriptor).st_size
        if start + size > now:
            raise CheckpointError(
                f"{self.path}: cut short since it was opened, from {self.size:,} to {now:,} bytes, but "
                f"{start + size:,} are needed. Do not change the file while it is in use."
            )
        self.check_unchanged()
