"""Only one process at a time writes a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.errors import OutputError
from dlrm_pl.files.locks import folder_lock


def test_folder_in_use_by_another_process_is_refused(tmp_path: Path) -> None:
    program = (
        "import signal; from pathlib import Path; from dlrm_pl.files.locks import folder_lock\n"
        f"with folder_lock(Path({str(tmp_path / 'out')!r})): print('held', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(OutputError, match=f"in use: process {process.pid} is writing it"):
                folder_lock(tmp_path / "out").__enter__()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with folder_lock(tmp_path / "out"):  # The lock died with its process.
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with folder_lock(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_name_that_its_holder_gives_up_meanwhile_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ends and removes the file after B opens it but before B locks it; C must still see B's lock."""
    first = folder_lock(tmp_path / "out")
    first.__enter__()
    flock, ended = fcntl.flock, False

    def after_the_first_has_ended(descriptor: int, operation: int) -> None:
        nonlocal ended
        if not ended:
            ended = True
            first.__exit__(None, None, None)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", after_the_first_has_ended)
    with folder_lock(tmp_path / "out"), pytest.raises(OutputError, match="in use"), folder_lock(tmp_path / "out"):
        pass
    assert ended


def test_many_who_hammer_a_lock_hold_it_one_at_a_time(tmp_path: Path) -> None:
    end = time.monotonic() + 0.5

    def hammer(_: int) -> tuple[int, int]:
        taken = together = 0
        while time.monotonic() < end:
            try:
                with folder_lock(tmp_path / "out"):
                    taken += 1
                    try:
                        (tmp_path / "mark").mkdir()
                    except FileExistsError:
                        together += 1
                    else:
                        (tmp_path / "mark").rmdir()
            except OutputError:
                pass
        return taken, together

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(hammer, range(6)))
    assert sum(taken for taken, _ in found) > 10
    assert sum(together for _, together in found) == 0


def test_full_disk_at_the_start_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match=r"out: cannot be written \(No space left"), folder_lock(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []
    with folder_lock(tmp_path / "out"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def without(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(OutputError, match="out: the file system cannot lock files"), folder_lock(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_not_in_use() -> None:
    with pytest.raises(OutputError, match=r"/proc/out: cannot be written \(No such file or directory\)"):
        folder_lock(Path("/proc/out")).__enter__()
