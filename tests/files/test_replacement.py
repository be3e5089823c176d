"""What may be replaced, and what is refused before work begins."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.errors import OutputError
from dlrm_pl.files.atomic import check_folder
from dlrm_pl.files.destinations import check_file, holds, resolved
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput, changes_of, discard

NAMES = ("rows", "mark")


def recognize(folder: Path) -> FinishedOutput | None:
    return (
        FinishedOutput("a folder", "write", {"seed": 1, "deep": {"rows": 5}}, NAMES)
        if (folder / "mark").exists()
        else None
    )


def planned(by: str = "write", *, overwrite: bool = False, **settings: Any) -> PlannedOutput:
    return PlannedOutput(by, {"seed": 1, "deep": {"rows": 5}} | settings, recognize, overwrite)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    for name in NAMES:
        (tmp_path / "out" / name).touch()
    return tmp_path / "out"


def test_same_settings_may_replace(finished: Path) -> None:
    check_folder(finished, planned())
    check_folder(finished, planned(deep={"rows": 5}))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (planned(seed=2), "made differently: seed changed from 1 to 2"),
        (planned(deep={"rows": 6}), r"made differently: deep\.rows changed from 5 to 6"),
        (planned("draw"), "made by `write`"),
        (PlannedOutput("write", None, recognize), "of an earlier run"),
    ],
)
def test_other_settings_need_overwrite(finished: Path, other: PlannedOutput, difference: str) -> None:
    with pytest.raises(OutputError, match=rf"out: holds a folder, {difference}\. .*or give --overwrite to replace it"):
        check_folder(finished, other)
    check_folder(finished, PlannedOutput(other.by, other.settings, recognize, overwrite=True))


@pytest.mark.parametrize("foreign", ["notes.txt", ".hidden", "folder"])
def test_file_of_the_users_is_never_replaced(finished: Path, foreign: str) -> None:
    (finished / foreign).mkdir() if foreign == "folder" else (finished / foreign).touch()
    with pytest.raises(OutputError, match=rf"did not write, {foreign}, and will not be replaced"):
        check_folder(finished, planned(overwrite=True))


def test_folder_with_the_name_of_one_of_our_files_is_the_users(finished: Path) -> None:
    (finished / "rows").unlink()
    (finished / "rows").mkdir()
    with pytest.raises(OutputError, match="did not write, rows, and"):
        check_folder(finished, planned(overwrite=True))
    discard(finished, recognize(finished))
    assert [path.name for path in finished.iterdir()] == ["rows"]


def test_no_name_in_a_description_reaches_outside_of_its_folder(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").touch()
    discard(finished, FinishedOutput("a folder", "write", {}, ("../thesis", str(tmp_path / "thesis"), *NAMES)))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_mount_point_is_refused(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == finished)
    with pytest.raises(OutputError, match="out: is a mount point"):
        check_folder(finished, planned())


def test_many_changes_are_counted() -> None:
    changes = changes_of({name: 1 for name in "abcd"} | {"long": 1}, {name: 2 for name in "abcd"} | {"long": "x" * 100})
    assert changes[0] == "a changed from 1 to 2"
    assert changes[4] == f"long changed from 1 to {'x' * 57}..."


def make_socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("make", "what"),
    [(Path.touch, "a file"), (os.mkfifo, "a pipe"), (make_socket, "a socket"), (None, "a device")],
    ids=["file", "pipe", "socket", "device"],
)
def test_folder_is_written_to_nothing_else(tmp_path: Path, make: Any, what: str) -> None:
    path = tmp_path / "out" if make else Path("/dev/null")
    if make:
        make(path)
    with pytest.raises(OutputError, match=f"{path.name}: is {what}, not a folder"):
        check_folder(path, planned(overwrite=True))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_file_is_written_to_no_folder_and_no_socket(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder, not a file"):
        check_file(tmp_path, overwrite=True, sinks=True)
    make_socket(tmp_path / "s")
    with pytest.raises(OutputError, match="s: is a socket, not a file"):
        check_file(tmp_path / "s", overwrite=True, sinks=True)
    with pytest.raises(OutputError, match="is an open file of this process, not a file"):
        check_file("/dev/fd/0", overwrite=True)


def test_block_device_is_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.stat_result((0o060660, *os.stat(tmp_path)[1:]))
    monkeypatch.setattr(os, "stat", lambda path: found)
    with pytest.raises(OutputError, match="sda: is a device, not a file"):
        check_file(tmp_path / "sda", overwrite=True, sinks=True)


def test_earlier_file_needs_overwrite_and_an_empty_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    check_file(path, overwrite=False)
    path.touch()
    check_file(path, overwrite=False)
    path.write_text("mine")
    (tmp_path / "link").symlink_to("p.csv")
    for name in (path, tmp_path / "link"):
        with pytest.raises(OutputError, match=r"already exists\. Give --overwrite to replace it"):
            check_file(name, overwrite=False)
        check_file(name, overwrite=True)


def test_same_content_is_recognized_and_a_larger_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    assert not holds(path, b"")
    path.write_bytes(b"text")
    (tmp_path / "link").symlink_to("card.md")
    assert holds(path, b"text")
    assert holds(tmp_path / "link", b"text")
    assert not holds(path, b"test")
    assert not holds(tmp_path, b"")
    os.truncate(path, 1 << 40)  # Sparse, and larger than memory.
    assert not holds(path, b"text")


def test_circular_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="a: cannot be written"):
        check_file(tmp_path / "a", overwrite=True)


def test_home_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolved("~/out") == tmp_path.resolve() / "out"
