"""Folders and files appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dlrm_pl.errors import OutputError
from dlrm_pl.files.atomic import atomic_file, atomic_folder
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput


def recognize(folder: Path) -> FinishedOutput | None:
    """A folder with a mark contains a note, and the mark states its settings."""
    if not (folder / "mark").exists():
        return None
    return FinishedOutput("a folder", "write", {"text": (folder / "mark").read_text()}, ("note", "mark"))


def planned(text: str = "", *, overwrite: bool = False) -> PlannedOutput:
    return PlannedOutput("write", {"text": text}, recognize, overwrite)


def write(folder: Path, text: str, *, overwrite: bool = False) -> None:
    with atomic_folder(folder, planned(text, overwrite=overwrite)) as temporary:
        (temporary / "mark").write_text(text)


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    (tmp_path / "out" / "note").write_text("of the first run")
    write(tmp_path / "out", "two", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mark"}
    assert (tmp_path / "out" / "mark").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_target_does_not_exist_before_the_end(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "deep" / "out", planned()) as temporary:
        (temporary / "mark").write_text("")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out").is_dir()


def test_error_inside_leaves_the_earlier_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "out", planned("one")) as temporary:
        (temporary / "mark").write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "mark").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis").write_text("")
    with pytest.raises(OutputError, match="out: holds files that this command did not write, thesis, and will not"):
        write(tmp_path / "out", "x")
    assert (tmp_path / "out" / "thesis").exists()


def test_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "x")
    assert (tmp_path / "out" / "mark").read_text() == "x"


def test_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        write(tmp_path / "out", "x")


def test_parent_that_cannot_hold_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="out: cannot be written"):
        write(tmp_path / "file" / "out", "x")
    with pytest.raises(OutputError, match=r"p\.csv: cannot be written"), atomic_file(tmp_path / "file" / "p.csv"):
        pass


def test_what_a_killed_writer_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    program = (
        "import signal; from pathlib import Path; from dlrm_pl.files.atomic import atomic_file\n"
        f"with atomic_file(Path({str(tmp_path / 'a[1].bin')!r})): print('open', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline() == "open\n"
            leftover = tmp_path / f".a[1].bin.{process.pid}.tmp"
            other = tmp_path / ".a[1].bin.99999999.tmp"  # No process of this machine has this id.
            unrelated = tmp_path / ".b.bin.99999999.tmp"
            unrelated.touch()
            with other.open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                with atomic_file(tmp_path / "a[1].bin") as handle:
                    handle.write("x")
                assert leftover.exists()
                assert other.exists()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with atomic_file(tmp_path / "a[1].bin") as handle:
        handle.write("y")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].bin", unrelated.name}


def test_killed_run_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os; from pathlib import Path; from dlrm_pl.files.atomic import atomic_folder\n"
        "from dlrm_pl.files.replacement import PlannedOutput\n"
        f"out = Path({str(tmp_path / 'out')!r})\n"
        "with atomic_folder(out, PlannedOutput('write', None, lambda _: None)) as folder:\n"
        "    (folder / 'half').write_text('x' * 1000)\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert not (tmp_path / "out").exists()
    write(tmp_path / "out", "whole")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mark"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_file_appears_at_the_end_and_only_then(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "p.csv") as handle:
        handle.write("text")
        assert not (tmp_path / "p.csv").exists()
    assert (tmp_path / "p.csv").read_text() == "text"
    with pytest.raises(ValueError, match="stop"), atomic_file(tmp_path / "p.csv", "wb") as handle:
        handle.write(b"half")
        raise ValueError("stop")
    assert (tmp_path / "p.csv").read_text() == "text"
    assert os.listdir(tmp_path) == ["p.csv"]


def test_folder_that_is_read_only_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "out", "one")
    # Not through its mode: tests may run as root, who can write everything.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "out")
    with pytest.raises(OutputError, match="out: is read-only"):
        write(tmp_path / "out", "one")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_full_disk_names_the_output(tmp_path: Path, kind: str) -> None:
    context = atomic_file(tmp_path / "out") if kind == "file" else atomic_folder(tmp_path / "out", planned())
    with pytest.raises(OSError, match="No space left") as caught, context:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # A write does not know the file's name.
    assert caught.value.filename == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_not_about_the_output(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken") as caught, atomic_file(tmp_path / "out"):
        raise OSError(errno.EIO, "broken")
    assert caught.value.filename is None


def test_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    """Also if the link's target does not exist yet."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere/real")
    for text in ("one", "two"):
        write(tmp_path / "out", text, overwrite=True)
        assert (tmp_path / "out").is_symlink()
        assert (tmp_path / "elsewhere" / "real" / "mark").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "out"}
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["real"]


def test_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("elsewhere/real")
    for text in ("one", "two"):
        with atomic_file(tmp_path / "out") as handle:
            handle.write(text)
        assert (tmp_path / "out").is_symlink()
        assert (tmp_path / "elsewhere" / "real").read_text() == text
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["real"]


def test_what_is_put_into_a_folder_while_it_is_replaced_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "out", "one")
    with atomic_folder(tmp_path / "out", planned("one")) as temporary:
        (temporary / "mark").write_text("one")
        (tmp_path / "out" / "thesis").write_text("just now")
    assert (tmp_path / ".out.old" / "thesis").read_text() == "just now"
    assert ".out.old: keeps files that were put into the folder" in caplog.text
    with pytest.raises(OutputError, match=r"\.out\.old: .*, and is in the way"):
        write(tmp_path / "out", "one")
    assert (tmp_path / ".out.old" / "thesis").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_run_that_was_killed_between_its_two_renames_is_put_right(tmp_path: Path, finished: bool) -> None:
    write(tmp_path / "out", "one")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    if finished:
        write(tmp_path / "new", "one")
        (tmp_path / "new").rename(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "out", planned("one")):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "mark").read_text() == "one"


def test_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    with atomic_file(tmp_path / "pipe", sinks=True) as handle:
        handle.write("text")
    reader.join()
    assert read == ["text"]
    assert (tmp_path / "pipe").is_fifo()
    with (
        pytest.raises(OutputError, match="pipe: is a pipe, not a file"),
        atomic_file(tmp_path / "pipe"),
    ):
        pass


def test_device_is_written_to_and_stays_a_device() -> None:
    with atomic_file(Path("/dev/null"), "wb", sinks=True) as handle:
        handle.write(b"nothing")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OutputError, match="null: is a device, not a file"), atomic_file(Path("/dev/null"), "wb"):
        pass
    with pytest.raises(OSError, match="No space left") as caught, atomic_file(Path("/dev/full"), sinks=True) as handle:
        handle.write("too much")
    assert caught.value.filename == "/dev/full"


def test_open_file_by_its_number_goes_on_where_it_stands(tmp_path: Path) -> None:
    """As with `program > file` and /dev/stdout as the output."""
    with (tmp_path / "out").open("w") as standing:
        standing.write("before\n")
        standing.flush()
        (tmp_path / "stdout").symlink_to(f"/dev/fd/{standing.fileno()}")
        for path in (Path(f"/dev/fd/{standing.fileno()}"), tmp_path / "stdout"):
            with atomic_file(path, sinks=True) as handle:
                handle.write("inside\n")
        standing.write("after\n")
    assert (tmp_path / "out").read_text() == "before\ninside\ninside\nafter\n"
