"""Folders of checkpoints appear whole, replace earlier ones, and are removed without deleting other files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlrm_pl.distributed.checkpoints import places
from dlrm_pl.distributed.checkpoints.places import give_second_name, make_temporary, put_in_place, remove
from dlrm_pl.errors import OutputError

NAMES = ("complete.json", "dense.pt", "part-0.pt", "part-12.pt")


def _fill(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_text(text)
    return folder


def test_temporary_folder_replaces_what_a_killed_training_left(tmp_path: Path) -> None:
    left = _fill(tmp_path / ".step=3.ckpt.0123.tmp", "left")
    other = _fill(tmp_path / ".step=33.ckpt.0123.tmp", "other")
    temporary = make_temporary(tmp_path / "step=3.ckpt", "abcd")
    assert temporary == tmp_path / ".step=3.ckpt.abcd.tmp"
    assert not left.exists()
    assert other.exists()


@pytest.mark.parametrize("exchanges", [True, False])
def test_finished_folder_replaces_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(places, "_exchange", lambda first, second: False)
    path = _fill(tmp_path / "last.ckpt", "old")
    temporary = make_temporary(path, "abcd")
    put_in_place(_fill(temporary, "new"), path)
    assert {(path / name).read_text() for name in NAMES} == {"new"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("earlier", ["file", "link"])
def test_finished_folder_replaces_a_file_or_a_link(tmp_path: Path, earlier: str) -> None:
    path, kept = tmp_path / "last.ckpt", _fill(tmp_path / "step=3.ckpt", "kept")
    if earlier == "file":
        path.write_text("old")
    else:
        path.symlink_to(kept)
    put_in_place(_fill(make_temporary(path, "abcd"), "new"), path)
    assert (path / "dense.pt").read_text() == "new"
    assert (kept / "dense.pt").read_text() == "kept"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last.ckpt", "step=3.ckpt"]


def test_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("")
    with pytest.raises(OutputError, match=r"photos: is a folder, but not a sharded checkpoint, so it is not replaced"):
        make_temporary(tmp_path / "photos", "abcd")


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"step=3\.ckpt: cannot be written \(File exists\)"):
        make_temporary(tmp_path / "file" / "step=3.ckpt", "abcd")


def test_removing_keeps_files_of_others(tmp_path: Path) -> None:
    path = _fill(tmp_path / "step=3.ckpt", "")
    (path / "notes.txt").write_text("mine")
    remove(path)
    assert not path.exists()
    (kept,) = tmp_path.rglob("notes.txt")
    assert os.listdir(kept.parent) == ["notes.txt"]


def test_removing_a_link_keeps_the_checkpoint(tmp_path: Path) -> None:
    path = _fill(tmp_path / "step=3.ckpt", "")
    (tmp_path / "last.ckpt").symlink_to(path)
    remove(tmp_path / "last.ckpt")
    remove(tmp_path / "nothing.ckpt")
    assert sorted(os.listdir(path)) == sorted(NAMES)


def test_linked_files_stay_when_the_first_folder_goes(tmp_path: Path) -> None:
    first = _fill(tmp_path / "step=3.ckpt", "same")
    assert give_second_name(first, tmp_path / "last.ckpt")
    remove(first)
    assert {(tmp_path / "last.ckpt" / name).read_text() for name in NAMES} == {"same"}


@pytest.mark.parametrize("copies", [False, True])
def test_without_hard_links_files_are_copied_where_they_cannot_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    def no_links(*names: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    first = _fill(tmp_path / "step=3.ckpt", "same")
    assert give_second_name(first, tmp_path / "last.ckpt", copies) == copies
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last.ckpt", "step=3.ckpt"][1 - copies :]
