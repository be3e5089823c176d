"""Run ``fit`` as a user does, with its progress bar on a terminal, a log and a checkpoint callback, and time it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def fit_on_a_terminal(
    checkout: Path,
    clock: str,
    model: Mapping[str, Any],
    data: Path,
    *,
    batch_size: int,
    precision: str,
    steps: int,
    environment: Mapping[str, str],
    folder: Path,
    epochs: int = 2,
) -> list[dict[str, float]]:
    """Train some epochs, and return what a callback of ``fit_times.py`` wrote about each.

    Args:
        checkout: whose ``fit`` runs.
        clock: name of the callback.
        model: settings of the model.
        data: dataset folder.
        batch_size: training rows of a batch.
        precision: the trainer's.
        steps: steps of an epoch.
        environment: variables of the process, among them the numbers of threads.
        folder: where files go.
        epochs: of the training; what is read and allocated once falls into the first.

    Raises:
        RuntimeError: ``fit`` failed; with its output.
    """
    output = folder / "times.json"
    # Watches every step, and has nothing to save yet.
    saves = {"dirpath": str(folder / "run"), "every_n_train_steps": 10**9}
    config = {
        "model": dict(model),
        "data": {"folder": str(data.resolve()), "batch_size": batch_size, "shuffle": "batch"},
        "trainer": {
            "default_root_dir": str(folder / "run"),
            "accelerator": "cpu",
            "precision": precision,
            "max_epochs": epochs,
            "limit_train_batches": steps,
            "limit_val_batches": 0,
            "logger": {
                "class_path": "pytorch_lightning.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder / "log")},
            },
            "callbacks": [
                {"class_path": f"fit_times.{clock}", "init_args": {"path": str(output)}},
                {"class_path": "pytorch_lightning.callbacks.RichProgressBar"},
                {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": saves},
            ],
        },
    }
    (folder / "fit.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, str(checkout / "cli.py"), "fit", "-c", str(folder / "fit.yaml"), "--overwrite"]
    path = os.pathsep.join([str(checkout), str(Path(__file__).resolve().parent), environment.get("PYTHONPATH", "")])
    variables = dict(environment) | {"PYTHONPATH": path, "COLUMNS": "120"}
    status, text = _on_a_terminal(command, variables, folder)
    if status:
        raise RuntimeError(f"fit of {checkout} ended with {status}:\n{text[-3000:]}")
    found: list[dict[str, float]] = json.loads(output.read_text())
    return found


def _on_a_terminal(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Run a command on a pseudo-terminal, whose output is read as it comes."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=theirs, stderr=theirs)
    os.close(theirs)
    parts: list[bytes] = []

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # The other end is closed.
                return
            if not part:
                return
            parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    status = process.wait()
    reader.join()
    os.close(ours)
    return status, b"".join(parts).decode(errors="replace")
