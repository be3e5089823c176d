"""Common interface of the formats that a model can be exported to."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.export.numbers import Numbers

TargetName = Literal["onnx", "pt2", "openvino"]

LogitsOf = Callable[[ClickBatch], Tensor]
"""Scores a batch with an exported model and returns its logits, float32 ``[B]``."""

_FULL_BYTES = 1 << 20


class Target(Protocol):
    """A format.

    Attributes:
        name: its name on the command line.
        file_names: names of the files that it may consist of; the first one is the model.
        copies: how many copies of the tables are on the disk while they are written.
        is_read_whole: whether its program reads the tables into memory instead of mapping the file.
    """

    @property
    def name(self) -> TargetName: ...  # noqa: D102

    @property
    def file_names(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def copies(self) -> int: ...  # noqa: D102

    @property
    def is_read_whole(self) -> bool: ...  # noqa: D102

    def require(self) -> None:
        """Check that the libraries of the format are installed.

        Raises:
            ConfigurationError: one is not installed; the message names the extra.
        """

    def write(self, numbers: Numbers, folder: Path, example: ClickBatch) -> None:
        """Write a model to a folder.

        Args:
            numbers: numbers of the model.
            folder: folder to write to.
            example: a batch of at least two samples; it shows whether the model takes bags.

        Raises:
            OSError: the disk is full.
        """

    def describe(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write metadata into the model that ``write`` wrote: JSON values."""

    def logits_of(self, folder: Path, threads: int) -> LogitsOf:
        """Load the model in a folder into the program that the format is for."""

    def programs(self) -> str:
        """Name the programs that wrote and ran the model, with their versions."""


@contextmanager
def full_disk_as_such(path: Path) -> Iterator[None]:
    """Raise the error of a full disk if a library only reports that it could not write.

    Raises:
        OSError: the disk is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if shutil.disk_usage(path.parent).free >= _FULL_BYTES:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
