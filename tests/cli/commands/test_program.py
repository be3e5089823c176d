"""The program itself, independent of its commands."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlrm_pl.cli import main as cli
from tests.support.commands import expect_error

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_a_program_collects_garbage_while_a_command_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    working = []

    def inspect(path: str) -> None:
        working.append(gc.isenabled())

    monkeypatch.setitem(cli.LIGHT, "inspect", inspect)
    monkeypatch.setattr(sys, "argv", ["cli.py", "inspect", str(tmp_path)])
    try:
        assert cli.program() == 0
        assert working == [True]
        monkeypatch.setattr(sys, "argv", ["cli.py", "nothing"])
        assert cli.program() == 2
        assert not gc.isenabled()  # Nothing was loaded, and the process would end here.
    finally:
        gc.unfreeze()
        gc.enable()


@pytest.mark.parametrize("preset", [None, "active"])
def test_threads_wait_without_spinning_unless_told_otherwise(preset: str | None) -> None:
    program = "import os, dlrm_pl.cli.main as cli; cli.main(['inspect', 'x']); print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": preset} if preset else {}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == (preset or "PASSIVE")


def test_unknown_command_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    expect_error(capsys, "no command 'quantise'. Did you mean 'quantize'", "quantise")
