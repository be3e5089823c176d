"""SHA256SUMS, the checksums of what a release publishes, in the form that ``sha256sum --check`` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from deploy.release.problem import ReleaseError

NAME = "SHA256SUMS"


def write_sums(files: Sequence[Path], folder: Path) -> Path:
    """Write the checksums of files into a folder."""
    path = folder / NAME
    path.write_text("".join(f"{_sum_of(file)}  {file.name}\n" for file in files))
    return path


def check_sums(folder: Path, required: Sequence[Path]) -> None:
    """Raise ReleaseError unless all files that a folder's checksums name are there unchanged.

    Args:
        folder: where the checksums and the files are.
        required: files that must have a checksum.
    """
    path = folder / NAME
    if not path.is_file():
        raise ReleaseError(f"{path} is missing. Run `make dist`, which writes it with the packages.")
    stated = {name: digest for digest, _, name in (line.partition("  ") for line in path.read_text().splitlines())}
    if unknown := sorted(file.name for file in required if file.name not in stated):
        raise ReleaseError(f"{path} has no checksum of {', '.join(unknown)}. Empty {folder}, and run `make dist`.")
    for name, digest in stated.items():
        if not (folder / name).is_file() or _sum_of(folder / name) != digest:
            raise ReleaseError(f"{folder / name} is missing or is not the file of {NAME}. Run `make dist` again.")


def _sum_of(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
