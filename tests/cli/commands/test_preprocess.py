"""`preprocess` as a user runs it: what it prints, and what it leaves behind when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.logs.raw_logs import random_lines, write_days


def command(*args: object) -> list[str]:
    return [sys.executable, str(ROOT / "cli.py"), *map(str, args)]


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), capture_output=True, text=True)


def test_the_plan_comes_first_and_inspect_shows_the_report(tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [[*random_lines(900, 0), b"junk"], random_lines(600, 1)])
    stopped = run("preprocess", "--raw", raw, "--output", tmp_path / "out")
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith(f"error: {raw}_0:901: has 1 field; expected 40")
    done = run("preprocess", "--raw", raw, "--output", tmp_path / "out", "--bad_rows", "skip:0.01")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("plan: 2 days, about 1,5")
    assert done.stdout.splitlines()[-1].endswith(f" inspect {tmp_path / 'out'} --plot")
    again = run("preprocess", "-q", "--raw", raw, "--output", tmp_path / "out", "--bad_rows", "skip:0.01")
    assert again.returncode == 0
    assert "--plot" not in again.stdout
    shown = run("inspect", tmp_path / "out").stdout
    for line in (
        "train 900 rows, ",
        "missing 38 of 39 columns, most: ",
        "most frequent values ",
        "rejected 1 row: 1 fields; see rejected.tsv",
        "warning: C26 is nearly always distinct: 1,500 values",
    ):
        assert line in " ".join(shown.split()), shown
        assert line in " ".join(done.stdout.split()) or line.startswith("train")


def test_ctrl_c_says_what_it_leaves(tmp_path: Path) -> None:
    # The NumPy fallback takes seconds for these rows.
    raw = write_days(tmp_path / "raw", [random_lines(2000, 0) * 30, random_lines(2000, 1) * 30])
    environment = os.environ | {"DLRM_PL_ISA": "fallback"}
    with subprocess.Popen(
        command("preprocess", "--raw", raw, "--output", tmp_path / "out"),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        line = child.stderr.readline()
        assert line.startswith("plan: ")
        while not (tmp_path / ".out.partial").exists():
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        error = child.stderr.read()
    assert child.returncode == 130
    assert error.splitlines() == [
        "Nothing is kept: the run had not reached its first checkpoint.",
        "Interrupted. No partial output was left; run the same command again to continue.",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_the_bar_shows_rows_a_second_and_the_time_left(tmp_path: Path) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(2000, 0) * 10, random_lines(2000, 1)])
    ours, theirs = os.openpty()
    environment = os.environ | {"DLRM_PL_ISA": "fallback", "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        command("preprocess", "--raw", raw, "--output", tmp_path / "out", "--memory", "16MiB"),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as child:
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 4096):
                shown += block
        except OSError:  # Linux reports that the other end was closed this way.
            pass
        os.close(ours)
    assert child.returncode == 0
    text = shown.decode()
    assert "reading" in text
    assert "rows/s" in text
    assert "0:00:0" in text
