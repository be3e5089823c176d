"""Locations of a model's versions: an artifact folder, or a folder with one artifact per version."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.artifact.manifest import FILE_NAME
from dlrm_pl.errors import ArtifactError

Snapshot = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and time of each file of a folder, which differ when anything in it was replaced or changed."""


@dataclass(frozen=True)
class FoundVersion:
    """An artifact folder that can be served.

    Attributes:
        folder: the folder.
        version: name of the version; None: it is derived from the manifest.
        snapshot: state of the folder's files.
        others: folders of all other versions, the newest first; a delta artifact shares their tables.
    """

    folder: Path
    version: str | None
    snapshot: Snapshot
    others: tuple[Path, ...] = ()


def find_versions(folder: Path, keep: int = 0) -> list[FoundVersion]:
    """Return the artifacts to serve for a model, the newest last.

    Args:
        folder: an artifact folder; or a folder whose subfolders are artifacts, named by whole numbers.
        keep: number of versions to serve, the newest ones; 0: all.

    Raises:
        ArtifactError: there is no artifact.
    """
    if (folder / FILE_NAME).is_file():
        return [FoundVersion(folder, None, _snapshot(folder))]
    numbered = {}
    if folder.is_dir():
        for path in folder.iterdir():
            # A folder that is still being written has no manifest.
            if path.name.isascii() and path.name.isdigit() and (path / FILE_NAME).is_file():
                numbered[int(path.name)] = path
    if not folder.exists():
        raise ArtifactError(f"{folder}: does not exist. Give a folder that `quantize` wrote.")
    if not numbered:
        raise ArtifactError(
            f"{folder}: is not an artifact, because {FILE_NAME} is missing, and contains no artifact folders named "
            "by numbers either. Give a folder that `quantize` wrote."
        )
    found = []
    for number in sorted(numbered)[-keep:]:
        folder = numbered[number]
        others = tuple(numbered[other] for other in sorted(numbered, reverse=True) if other != number)
        found.append(FoundVersion(folder, str(number), _snapshot(folder), others))
    return found


def _snapshot(folder: Path) -> Snapshot:
    try:
        with os.scandir(folder) as entries:
            files = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be read ({error.strerror}).") from error
    return tuple(sorted((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in files))
