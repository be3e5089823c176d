"""The bytes of an archive depend only on its files, and a difference is named."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from deploy.release.archives import differences, normalize_sdist

TIME = 1_700_000_000


def sdist(path: Path, names: list[str], content: bytes = b"text", **attributes: object) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_packer_time_and_order_do_not_change_an_archive(tmp_path: Path) -> None:
    first = sdist(tmp_path / "first.tar.gz", ["a/x", "a/y"], mtime=1, uid=1, uname="one", mode=0o664)
    second = sdist(tmp_path / "second.tar.gz", ["a/y", "a/x"], mtime=2, gid=2, gname="two", mode=0o600)
    assert differences(first, second)
    for path in (first, second):
        normalize_sdist(path, TIME)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        described = [(member.name, member.mtime, member.mode, member.uname) for member in archive.getmembers()]
        assert described == [("a/x", TIME, 0o644, ""), ("a/y", TIME, 0o644, "")]
        assert archive.extractfile("a/y").read() == b"text"  # type: ignore[union-attr]


def test_an_executable_stays_executable(tmp_path: Path) -> None:
    path = sdist(tmp_path / "a.tar.gz", ["a/run"], mode=0o775)
    normalize_sdist(path, TIME)
    with tarfile.open(path) as archive:
        assert archive.getmember("a/run").mode == 0o755


def wheel(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def test_differences_are_named(tmp_path: Path) -> None:
    first = wheel(tmp_path / "first.whl", a="1", b="2")
    assert differences(first, wheel(tmp_path / "same.whl", a="1", b="2")) == []
    assert differences(first, wheel(tmp_path / "other.whl", a="1", b="3")) == ["b: other content"]
    assert differences(first, wheel(tmp_path / "fewer.whl", a="1")) == ["b: in one of them only"]
    order = differences(first, wheel(tmp_path / "order.whl", b="2", a="1"))
    assert order == ["first.whl: the same files in other bytes (their order, or the compression)"]
    dated = tmp_path / "dated.whl"
    with zipfile.ZipFile(dated, "w") as archive:
        for name, content in (("a", "1"), ("b", "2")):
            archive.writestr(zipfile.ZipInfo(name, (2031, 1, 2, 3, 4, 6)), content)
    found = differences(first, dated)
    assert len(found) == 2
    assert "(2031, 1, 2, 3, 4, 6)" in found[0]
    one = sdist(tmp_path / "one.tar.gz", ["a/x"], mtime=1)
    (found_in_sdist,) = differences(one, sdist(tmp_path / "two.tar.gz", ["a/x"], mtime=2))
    assert found_in_sdist.startswith("a/x: mode 644, 1,")
