"""Run commands as a user does, and write the files they read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from dlrm_pl.cli import main as cli

ROOT = Path(__file__).parents[2]


def run(*args: object) -> int:
    """Run a command in this process; usage errors of the parser come as SystemExit."""
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as stop:
        return int(stop.code or 0)


@contextmanager
def caplog_of(name: str) -> Iterator[list[str]]:
    """Return the messages of a logger, as pytest's caplog would if commands did not configure logging."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(name).removeHandler(handler)


def write_config(folder: Path, data: Path, **callback: object) -> Path:
    """Write a complete run configuration for a small dataset."""
    config = {
        "seed_everything": 1,
        "model": {"embedding_dim": 8, "bottom_mlp": [13, 16, 8], "top_mlp": [16, 1], "learning_rate": 0.5},
        "data": {"folder": str(data), "batch_size": 64, "eval_batch_size": 512},
        "trainer": {
            "default_root_dir": str(folder / "run"),  # The resolved configuration is saved here.
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "callbacks": [
                {
                    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                    "init_args": {
                        "dirpath": str(folder / "run"),
                        "filename": "model",
                        "enable_version_counter": False,
                    },
                },
                {
                    "class_path": "dlrm_pl.callbacks.quantization.QuantizationCallback",
                    "init_args": {"output": str(folder / "artifact"), "criterion": {"relative": 0.05}} | callback,
                },
            ],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def write_yaml(folder: Path, contents: dict[str, object]) -> Path:
    (folder / "options.yaml").write_text(yaml.safe_dump(contents))
    return folder / "options.yaml"


def expect_error(capsys: pytest.CaptureFixture[str], message: str, *args: object) -> None:
    assert run(*args) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert error.count("error: ") == 1
    assert "usage:" not in error
