"""Open a torch file: read its contents, with descriptions in place of tensors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.allow_list import NumpyArray
from dlrm_pl.torch_file.file_range import FileRange
from dlrm_pl.torch_file.legacy_format import read_legacy
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.plain import check_plain, replace_leaves
from dlrm_pl.torch_file.stored import StoredTensor
from dlrm_pl.torch_file.zip_format import read_zip


@dataclass(frozen=True)
class TorchFile:
    """A file that ``torch.save`` wrote.

    Attributes:
        path: path of the file.
        format: ``zip``, or ``legacy``, the format before torch 1.6.
        contents: dicts, lists and tuples of plain values, NumPy arrays and ``StoredTensor``.
    """

    path: Path
    format: Literal["zip", "legacy"]
    contents: Any

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file's directory, and check that all tensors lie within the file.

        The directory has a few kilobytes, however large the tensors are.

        Only plain types and tensors are unpickled, so a hostile file cannot run code.

        Raises:
            CheckpointError: the file is missing, cut short or corrupt, is not a torch file, or holds something that is
                not allowed.
        """
        file = open_file(path)
        start = os.pread(file.descriptor, 265, 0)
        try:
            kind = _format(start)
            contents = read_zip(FileRange.whole(file)) if kind == "zip" else read_legacy(file)
            check_plain(contents, (StoredTensor, NumpyArray))
            contents = replace_leaves(contents, NumpyArray, NumpyArray.filled)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {str(error).rstrip('.')}.") from error
        return cls(path, kind, contents)


def open_file(path: Path) -> OpenFile:
    """Open a checkpoint file.

    Raises:
        CheckpointError: the file is missing, or may not be read.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: {'is a folder' if path.is_dir() else 'does not exist'}.")
    try:
        return OpenFile(path)
    except PermissionError as error:
        raise CheckpointError(f"{path}: permission denied. Change the file's permissions.") from error


def _format(start: bytes) -> Literal["zip", "legacy"]:
    """Tell torch's formats apart by the first bytes of a file."""
    if not start:
        raise CheckpointError("is empty")
    if b"PK\3\4".startswith(start[:4]):
        return "zip"
    if start[:1] == b"\x80":  # A pickle; its magic number comes first.
        return "legacy"
    if start[257:262] == b"ustar":
        raise CheckpointError("is a tar archive, as torch wrote before version 0.2; save it again with a later version")
    raise CheckpointError(f"not a file of torch: it starts with {start[:8]!r}")
