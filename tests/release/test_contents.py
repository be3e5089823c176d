"""A package that lacks a file, or contains another project's library, is refused."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.release.contents import check_sdist, check_wheel
from deploy.release.problem import ReleaseError

SOURCES = ["pyproject.toml", "pkg.py", "dlrm_pl/a.py", "dlrm_pl/x/py.typed", "configs/model/m.yaml"]
WHEEL = ["dlrm_pl/a.py", "dlrm_pl/x/py.typed", "dlrm_pl/configs/model/m.yaml", "dlrm_pl/x/_fast.so"]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    for name in SOURCES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "dlrm_pl" / "configs").symlink_to("../configs")
    (folder / "pyproject.toml").write_text('[[tool.setuptools.ext-modules]]\nname = "dlrm_pl.x._fast"\n')
    return folder


def wheel(folder: Path, names: list[str]) -> Path:
    path = folder / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def sdist(folder: Path, names: list[str]) -> Path:
    path = folder / "a-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"a-1/{name}"))
    return path


def test_whole_packages_are_accepted(sources: Path, tmp_path: Path) -> None:
    check_wheel(wheel(tmp_path, [*WHEEL, "a-1.dist-info/METADATA"]), sources)
    check_sdist(sdist(tmp_path, [*SOURCES, "PKG-INFO"]), [*SOURCES, "dlrm_pl/configs"])


@pytest.mark.parametrize("missing", WHEEL)
def test_a_wheel_without_a_file_is_refused(sources: Path, tmp_path: Path, missing: str) -> None:
    with pytest.raises(ReleaseError, match=rf"whl lacks {missing}\. See MANIFEST.in"):
        check_wheel(wheel(tmp_path, [name for name in WHEEL if name != missing]), sources)


def test_a_library_that_was_put_into_a_wheel_is_refused(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"not the package's own: dlrm_pl\.libs/libgomp-e98\.so\.1\.0\.0"):
        check_wheel(wheel(tmp_path, [*WHEEL, "dlrm_pl.libs/libgomp-e98.so.1.0.0"]), sources)


def test_a_source_distribution_without_a_file_or_with_what_was_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"gz lacks pkg\.py\."):
        check_sdist(sdist(tmp_path, [name for name in SOURCES if name != "pkg.py"]), SOURCES)
    with pytest.raises(ReleaseError, match=r"files that were built: dlrm_pl/x/_fast\.so"):
        check_sdist(sdist(tmp_path, [*SOURCES, "dlrm_pl/x/_fast.so"]), SOURCES)
