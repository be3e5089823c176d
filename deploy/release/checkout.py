"""The commit from which packages are made."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from deploy.release.problem import ReleaseError
from deploy.release.programs import run

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Commit:
    """A commit of a checkout, without the files that are not part of it."""

    root: Path
    name: str
    time: int
    """Seconds since 1970, in UTC: what all files of the packages are dated, as SOURCE_DATE_EPOCH."""

    def files(self) -> list[str]:
        """Paths of its files, relative to the root."""
        return run(["git", "ls-tree", "-r", "--name-only", "-z", self.name], self.root).rstrip("\0").split("\0")

    def export(self, folder: Path) -> None:
        """Write its files into a folder that does not exist yet."""
        folder.mkdir(parents=True)
        archive = folder.with_suffix(".export.tar")
        run(["git", "archive", "--output", archive, self.name], self.root)
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
        archive.unlink()


def clean_commit(root: Path = ROOT) -> Commit:
    """The commit that is checked out.

    Raises:
        ReleaseError: there are changes that it does not have, or this is not a checkout.
    """
    if not (root / ".git").exists():
        raise ReleaseError(f"{root} is not a checkout of git. Packages are made of a commit: clone the repository.")
    changes = run(["git", "status", "--porcelain"], root)
    if changes:
        raise ReleaseError(f"Commit or remove these changes first, since a release is made of a commit:\n{changes}")
    name, time = run(["git", "log", "-1", "--format=%H %ct"], root).split()
    return Commit(root, name, int(time))
