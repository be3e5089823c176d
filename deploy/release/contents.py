"""Whether the packages have everything that they should, and nothing that they should not."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.release.problem import ReleaseError


def check_sdist(path: Path, files: Iterable[str]) -> None:
    """Raise ReleaseError unless a source distribution has the files of the commit."""
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if not member.isdir()}
    # The configs are a link in a checkout.
    _require(path, set(files) - {"dlrm_pl/configs"} - names)
    if libraries := sorted(name for name in names if name.endswith((".so", ".pyc"))):
        raise ReleaseError(f"{path.name} has files that were built: {', '.join(libraries)}")


def check_wheel(path: Path, sources: Path) -> None:
    """Raise ReleaseError unless a wheel has the package's files, and no libraries but the package's own.

    Args:
        path: the wheel as auditwheel wrote it, which puts every library into it that not all systems have. The OpenMP
            runtime is one of them: the kernels find the one that torch has loaded by its name instead of linking it,
            because a second one would be a second pool of threads.
        sources: the commit's files.
    """
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
    project = tomllib.loads((sources / "pyproject.toml").read_text())
    built = {f"{module['name'].replace('.', '/')}.so" for module in project["tool"]["setuptools"]["ext-modules"]}
    package = {str(file.relative_to(sources)) for file in _files(sources / "dlrm_pl")}
    _require(path, (built | package) - names)
    if strange := sorted(name for name in names - built if ".so" in Path(name).suffixes):
        raise ReleaseError(f"{path.name} has libraries that are not the package's own: {', '.join(strange)}")


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():  # Also behind a link, as the configs are.
            yield from _files(path)
        else:
            yield path


def _require(path: Path, missing: set[str]) -> None:
    if missing:
        raise ReleaseError(f"{path.name} lacks {', '.join(sorted(missing))}. See MANIFEST.in and pyproject.toml.")
