"""Runs of preprocessing that are interrupted, repeated or limited, and the effects of their options."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import DataFormatError, OutputError
from tests.support.logs.raw_logs import MANY, contents, random_lines, read, use_engine, write_days
from tests.support.processes.killed_runs import Killed, killed_at_checkpoint

pytestmark = pytest.mark.long


@pytest.mark.each_value
@pytest.mark.each_value
@pytest.mark.parametrize("number", [0, 1, 2, 5, 8, 9, 10])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_killed_at_a_checkpoint_goes_on_to_the_same_bytes(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, number: int, before: bool
) -> None:
    with killed_at_checkpoint(number, before=before):
        preprocess(raw, tmp_path / "out", MANY)
    left = CheckpointFolder(tmp_path / "out")
    assert left.path.exists()
    # A dying process may have written this after the checkpoint.
    for name in ("bucket_0", "last_day", "values_3.u4"):
        if (left.path / name).exists():
            with (left.path / name).open("ab") as handle:
                handle.write(b"half a record")
    preprocess(raw, tmp_path / "out", MANY)
    assert contents(tmp_path / "out") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_checkpoints_are_taken_in_both_stages(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = []
    real = CheckpointFolder.commit
    monkeypatch.setattr(
        CheckpointFolder, "commit", lambda self, state: (phases.append((state.phase, state.merged)), real(self, state))
    )
    preprocess(raw, tmp_path / "out", MANY)
    assert phases.count(("scatter", 0)) > 5
    assert phases[-1][0] == "merge"
    assert phases[-1][1] >= 1


CHILD = """
import sys
from pathlib import Path
from typing import Any
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
real, left = CheckpointFolder.commit, int(sys.argv[3])
def commit(self, state):
    global left
    real(self, state)
    left -= 1
    if left == 0:
        print("held", flush=True)
        sys.stdin.read()
CheckpointFolder.commit = commit
print("ready", flush=True)
options = PreprocessOptions(memory_bytes=16 << 20, checkpoint_bytes=150_000, workers=16)
preprocess(Path(sys.argv[1]), Path(sys.argv[2]), options)
"""


def test_kill_9_at_random_points_and_the_same_command_again(
    raw: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    output, draw = tmp_path / "out", random.Random(os.urandom(4))
    # The first run is held so that it is killed in the middle; how far the others get depends on the machine.
    for hold in (3, 0, 0):
        command = [sys.executable, "-c", CHILD, str(raw), str(output), str(hold)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            if hold:
                assert child.stdout.readline() == b"held\n"
            else:
                time.sleep(draw.uniform(0.0, 0.4))
            child.send_signal(signal.SIGKILL)
            status = child.wait()
        if hold:
            assert status == -signal.SIGKILL
            assert CheckpointFolder(output).load() is not None
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert contents(output) == expected
    assert {path.name for path in tmp_path.iterdir()} <= {"out", ".out.lock"}


def test_a_run_killed_before_its_last_step_leaves_nothing(
    raw: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CheckpointFolder.publish

    def die(self: CheckpointFolder) -> None:
        raise Killed

    def publish(self: CheckpointFolder, output: Path) -> None:
        monkeypatch.setattr(CheckpointFolder, "remove", die)
        real(self, output)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "publish", publish)
        with pytest.raises(Killed):
            preprocess(raw, tmp_path / "out", MANY)
    monkeypatch.undo()
    assert CheckpointFolder(tmp_path / "out").path.exists()
    assert preprocess(raw, tmp_path / "out", MANY).seconds is None
    assert contents(tmp_path / "out") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.untraced
@pytest.mark.parametrize("randomize", ["total", pytest.param("day", marks=pytest.mark.slow), "none"])
def test_neither_workers_nor_memory_nor_the_numpy_fallback_change_a_byte(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, randomize: str
) -> None:
    runs = [
        PreprocessOptions(randomize=randomize, workers=1),  # type: ignore[arg-type]
        PreprocessOptions(randomize=randomize, workers=3, memory_bytes=16 << 20, checkpoint_bytes=1 << 16),  # type: ignore[arg-type]
    ]
    for number, options in enumerate(runs):
        preprocess(raw, tmp_path / str(number), options)
    use_engine("numpy", monkeypatch)
    preprocess(raw, tmp_path / "2", runs[1])
    first, second, third = (contents(tmp_path / str(number)) for number in range(3))
    assert first == second == third


def test_changed_options_start_afresh_and_say_why(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    real = CheckpointFolder.commit

    def commit(self: CheckpointFolder, state: object) -> None:
        real(self, state)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointFolder, "commit", commit)
        preprocess(raw, tmp_path / "out", MANY)
    assert "run the same command to resume" in caplog.text
    preprocess(raw, tmp_path / "out", PreprocessOptions(seed=5))
    assert "starting over: seed changed from 123 to 5" in caplog.text
    preprocess(raw, tmp_path / "whole", PreprocessOptions(seed=5))
    assert read(tmp_path / "out") == read(tmp_path / "whole")


def test_a_finished_folder_is_recognised_by_what_it_was_made_from(raw: Path, tmp_path: Path) -> None:
    for path in raw.parent.glob("day_*"):
        shutil.copy2(path, tmp_path)
    first = preprocess(tmp_path / "day", tmp_path / "out")
    written = (tmp_path / "out" / "dataset.json").stat().st_mtime_ns
    again = preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(workers=1))
    assert again.seconds is None
    assert again.rows_by_day == first.rows_by_day == (2500, 1, 3000, 1501)
    assert "is complete" in str(again)
    assert (tmp_path / "out" / "dataset.json").stat().st_mtime_ns == written
    with pytest.raises(OutputError, match="made differently: seed changed from 123 to 5"):
        preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(seed=5))
    with (tmp_path / "day_2").open("ab") as handle:
        handle.write(b"\n")
    with pytest.raises(OutputError, match="day_2 changed"):
        preprocess(tmp_path / "day", tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    preprocess(tmp_path / "day", tmp_path / "out")


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(3000, 0), [*random_lines(3000, 1), b"bad"]])
    with pytest.raises(DataFormatError, match="day_1:3001: has 1 field"):
        preprocess(raw, tmp_path / "out", MANY)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
