"""How the program starts and ends: closed pipes, full outputs, ctrl-C during startup."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from dlrm_pl.cli import entry

PROGRAM = [sys.executable, str(Path(__file__).parents[2] / "cli.py")]


def run_into(output: int, *args: object) -> tuple[int, str]:
    ended = subprocess.run(
        [*PROGRAM, *map(str, args)], stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=100
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("args", [("--help",), ("configs", "list")])
def test_reader_that_has_gone_ends_a_command_without_a_word(args: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        status, error = run_into(writing, *args)
        # Progress goes to the error output.
        assert re.sub(r"synthesize: .* rows\n", "", error) == ""
        assert status == (0 if args[-1] in ("-h", "--help") and len(args) > 1 else 141)  # argparse ignores it.
    finally:
        os.close(writing)


@pytest.mark.slow
@pytest.mark.parametrize(
    "args", [("inspect", "DATA"), ("synthesize", "--output", "OUT", "--rows", "100"), ("fit", "-h")]
)
def test_reader_that_has_gone_ends_any_command_without_a_word(
    args: tuple[str, ...], synthetic_folder: Path, tmp_path: Path
) -> None:
    places = {"DATA": str(synthetic_folder), "OUT": str(tmp_path / "out")}
    test_reader_that_has_gone_ends_a_command_without_a_word(tuple(places.get(arg, arg) for arg in args))


def test_output_that_is_full_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        status, error = run_into(full.fileno(), "configs", "list")
    assert status == 2
    assert error.startswith("error: The ")
    assert "full" in error or "No space left" in error  # Depending on whether Python buffers the text.
    assert error.count("\n") == 1


def test_output_that_is_closed_is_none(tmp_path: Path) -> None:
    """No file that the program opens gets the number of the closed output."""
    command = f"exec {' '.join(PROGRAM)} configs copy --output {tmp_path / 'configs'} >&-"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=100)
    assert (ended.returncode, ended.stderr) == (0, "")
    copied = tmp_path / "configs" / "experiment" / "quickstart.yaml"
    assert copied.read_bytes() == (Path(__file__).parents[2] / "configs/experiment/quickstart.yaml").read_bytes()


def test_ctrl_c_before_anything_has_begun_ends_without_a_word() -> None:
    program = (
        "import os, signal, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'dlrm_pl.cli.main': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from dlrm_pl.cli.entry import program\n"
        "sys.exit(program())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.slow
def test_ctrl_c_at_any_time_leaves_no_traceback() -> None:
    """Once our code runs; Python's own startup is not ours to control."""
    program = [sys.executable, "-X", "importtime", *PROGRAM[1:], "verify", "--artifact", "none", "--data", "none"]
    for hundredths in range(0, 40, 2):
        process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if line.endswith("dlrm_pl.cli.entry\n"):
                break
        time.sleep(hundredths / 100)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=100)
        assert process.returncode in (130, 2), error
        assert "Traceback" not in error


# A stand-in for torch, which would take seconds to import, and an object that reports when modules are freed.
_ENDING = """
import atexit, sys, threading, time, types
from dlrm_pl.cli import main
from dlrm_pl.cli.entry import program

class Told:
    def __del__(self):
        print("taken-apart", flush=True)

told = Told()
atexit.register(print, "registered")
for name in sys.argv[2:]:
    sys.modules[name] = types.ModuleType(name)

def command():
    print("output")
    if sys.argv[1] == "thread":
        threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    return 3

main.program = command
sys.exit(program())
"""


@pytest.mark.parametrize(
    ("kind", "modules", "output"),
    [
        ("alone", ["torch"], "output registered"),
        ("alone", [], "output registered taken-apart"),
        ("alone", ["torch", "pytorch_lightning"], "output registered taken-apart"),
        ("thread", ["torch"], "output thread registered taken-apart"),
    ],
)
def test_modules_are_left_as_they_are_once_all_is_done(kind: str, modules: list[str], output: str) -> None:
    command = [sys.executable, "-c", _ENDING, kind, *modules]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (ended.returncode, ended.stdout.split("\n"), ended.stderr) == (3, [*output.split(" "), ""], "")


def raising(error: BaseException) -> Callable[[], int]:
    def command_line() -> NoReturn:
        raise error

    return command_line


def test_exceptions_that_are_an_exit_status() -> None:
    assert entry._status_of(lambda: 3) == 3
    assert entry._status_of(raising(SystemExit())) == 0
    assert entry._status_of(raising(SystemExit(2))) == 2
    assert entry._status_of(raising(BrokenPipeError(32, "Broken pipe", "/dev/fd/63"))) == 141
    of_rich = SystemExit(1)
    of_rich.__context__ = BrokenPipeError()
    assert entry._status_of(raising(of_rich)) == 141
    with pytest.raises(SystemExit, match="in words"):
        entry._status_of(raising(SystemExit("in words")))


def test_pipe_that_is_not_the_users_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_reader_has_gone", lambda: False)
    with pytest.raises(BrokenPipeError):
        entry._status_of(raising(BrokenPipeError()))
    monkeypatch.setattr(entry, "_reader_has_gone", lambda: True)
    assert entry._status_of(raising(BrokenPipeError())) == 141


def test_status_of_a_command_that_failed_is_kept_when_its_output_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as output:
        output.write("text")
        monkeypatch.setattr(sys, "stdout", output)
        os.close(reading)
        assert entry._flushed(2) == 2
        assert entry._flushed(0) == 0  # Text that could not be written is discarded.
    with Path("/dev/full").open("w") as output:
        output.write("text")
        monkeypatch.setattr(sys, "stdout", output)
        assert entry._flushed(0) == 2
    assert "The output cannot be written" in capsys.readouterr().err
