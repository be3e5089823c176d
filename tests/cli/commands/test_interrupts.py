"""Stopped commands: what they print, return and leave behind."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.cli import main as cli
from tests.support.commands import run, write_config
from tests.support.processes.forked import forked_command

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]


def test_interrupt_that_a_library_made_another_error_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy does this when it is interrupted while being imported."""

    def stopped_in_an_import(path: str) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    monkeypatch.setitem(cli.LIGHT, "inspect", stopped_in_an_import)
    assert run("inspect", "x") == 130
    assert "Interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("stage", "stop", "status"),
    [
        ("synthesize", signal.SIGINT, 130),
        ("fit", signal.SIGINT, 130),
        pytest.param("fit", signal.SIGTERM, 143, marks=pytest.mark.slow),
        ("predict", signal.SIGINT, 130),
    ],
)
def test_a_stopped_command_leaves_nothing_half_written(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, stage: str, stop: signal.Signals, status: int
) -> None:
    config = str(write_config(tmp_path, synthetic_folder))
    commands = {
        "synthesize": ["--output", str(tmp_path / "out"), "--rows", "100000000"],
        "fit": ["-c", config, "--trainer.max_epochs", "100000"],
        "predict": [
            *("--artifact", str(fitted / "artifact"), "--data", str(synthetic_folder), "--split", "train"),
            *("--batch_size", "1", "--output", str(tmp_path / "p.csv")),
        ],
    }
    # The file that the stage writes first; predict's name contains the process id.
    first = {"synthesize": ".out.tmp", "fit": "run", "predict": ".p.csv.*.tmp"}
    command = [stage, *commands[stage]]
    # The slow kernels, so that predict is far from finished.
    process = forked_command(*command, environment={"DLRM_PL_ISA": "fallback"})
    try:
        deadline = time.monotonic() + 200
        while not (list(tmp_path.glob(first[stage])) and handles(process.pid, stop)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.glob(first[stage]))
        time.sleep(0.3)
        process.send_signal(stop)
        _, error = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == status, error
    assert ("Interrupted" in error) == (stop == signal.SIGINT)
    assert "Traceback" not in error
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"config.yaml", "run", "lightning_logs"}


def handles(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process handles a signal: Lightning installs its SIGTERM handler when training starts."""
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.slow
@pytest.mark.untraced
def test_interrupted_search_ends_with_its_best_and_the_next_one_goes_on(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, synthetic_folder)
    command = ("quantize", "-c", config, "--ckpt_path", fitted / "run" / "model.ckpt", "--absolute", "0")
    process = forked_command(*command)
    log = tmp_path / ".artifact.trials.jsonl"
    try:
        deadline = time.monotonic() + 200
        while (not log.exists() or log.read_bytes().count(b"\n") < 3) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 4, error
    assert "continuing with the best of" in error
    assert "Traceback" not in error
    artifact = load_artifact(tmp_path / "artifact")
    assert artifact.certificate.stopped_because == "it was interrupted"
    assert artifact.certificate.trials >= 2
    assert run(*command, "--max_trials", str(artifact.certificate.trials + 2)) == 4  # Undecided: too few rows.
    assert f"resuming; trials finished before: {artifact.certificate.trials}" in caplog.text
    again = load_artifact(tmp_path / "artifact").certificate
    assert again.trials == artifact.certificate.trials + 2
    assert not log.exists()


def test_ctrl_c_after_the_training_of_fit_names_the_checkpoint(
    synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press_ctrl_c(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dlrm_pl.callbacks.quantization.quantize_module", press_ctrl_c)
    assert run("fit", "-c", write_config(tmp_path, synthetic_folder)) == 130
    error = capsys.readouterr().err
    trained = re.search(
        r"its model is in (\S+)\. To quantize it, run `quantize` with the same configuration and --ckpt", error
    )
    assert trained is not None, error
    assert Path(trained[1]).is_file()
