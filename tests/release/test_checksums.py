"""`make dist-check` compares the packages with SHA256SUMS before it installs one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.release.checksums import NAME, check_sums, write_sums
from deploy.release.problem import ReleaseError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = ("a-1.tar.gz", "a-1-py3-none-any.whl", "a-1.cdx.json")
    for name in names:
        (tmp_path / name).write_text(name)
    files = [tmp_path / name for name in names]
    write_sums(files, tmp_path)
    return files


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_reads_the_file(files: list[Path]) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", NAME], cwd=files[0].parent, check=True, capture_output=True)


def test_unchanged_files_are_accepted(files: list[Path]) -> None:
    check_sums(files[0].parent, files[:2])


@pytest.mark.parametrize("number", range(3))
def test_a_file_that_was_changed_or_is_missing_is_named(files: list[Path], number: int) -> None:
    file = files[number]
    file.write_text(file.name.upper())
    with pytest.raises(ReleaseError, match=rf"{file.name} is missing or is not the file of SHA256SUMS"):
        check_sums(file.parent, files[:2])
    file.unlink()
    with pytest.raises(ReleaseError, match=rf"{file.name} is missing or is not"):
        check_sums(file.parent, [])


def test_a_package_without_a_checksum_is_refused(files: list[Path]) -> None:
    folder = files[0].parent
    write_sums(files[1:], folder)
    with pytest.raises(ReleaseError, match=r"SHA256SUMS has no checksum of a-1\.tar\.gz\."):
        check_sums(folder, files[:2])
    (folder / NAME).unlink()
    with pytest.raises(ReleaseError, match=r"SHA256SUMS is missing\. Run `make dist`"):
        check_sums(folder, files[:2])
