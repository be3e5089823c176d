"""The throughput of a training, in a log and to loggers: samples per second, data wait, and time left."""

from __future__ import annotations

import csv
import io
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from dlrm_pl.callbacks.throughput import ThroughputMonitor, format_seconds
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from tests.support.training import click_module, make_batches, make_module, quiet_trainer

LOG = "dlrm_pl.callbacks.throughput"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, LOG)
    return lambda: [record.getMessage() for record in caplog.records if record.name == LOG]


def data_of(folder: Path, **options: Any) -> DLRMDataModule:
    return DLRMDataModule(str(folder), **({"batch_size": 500, "eval_batch_size": 1000} | options))


def fit(folder: Path, *, monitor: ThroughputMonitor | None = None, engine: str = "auto", **options: Any) -> pl.Trainer:
    data = data_of(folder)
    trainer = quiet_trainer(
        **({"max_epochs": 2, "enable_checkpointing": False, "callbacks": [monitor] if monitor else None} | options)
    )
    trainer.fit(click_module(data, engine=engine), datamodule=data)
    return trainer


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fit_says_how_fast_each_epoch_was(synthetic_folder: Path, lines: Callable[[], list[str]]) -> None:
    trainer = fit(synthetic_folder, limit_val_batches=0)
    assert sum(isinstance(one, ThroughputMonitor) for one in trainer.callbacks) == 1
    first, last = lines()
    assert first.startswith("epoch 1 of 2, 8,000 samples in ")
    assert "samples/s, " in first
    assert " % of the time waiting for data, about " in first
    assert first.endswith(" of training left")
    assert last.startswith("epoch 2 of 2, 8,000 samples in ")
    assert "left" not in last


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_loggers_get_the_speed_at_steps_that_are_logged(synthetic_folder: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    fit(synthetic_folder, logger=logger, log_every_n_steps=8, limit_val_batches=0)
    with (tmp_path / "metrics.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["samples_per_s"]]
    assert [int(row["step"]) for row in rows] == [7, 15, 23, 31]
    assert all(float(row["samples_per_s"]) > 0 and 0 <= float(row["data_wait_share"]) <= 1 for row in rows)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lines_within_an_epoch_come_after_some_time(synthetic_folder: Path, lines: Callable[[], list[str]]) -> None:
    monitor = ThroughputMonitor(every_s=1e-6)
    fit(synthetic_folder, monitor=monitor, engine="torch", max_epochs=1, limit_train_batches=3, limit_val_batches=0)
    assert [line.split(":")[0].split(" samples in")[0] for line in lines()] == [
        *(f"epoch 1 of 1, batch {number} of 3" for number in (1, 2, 3)),
        "epoch 1 of 1, 1,500",
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_lines_if_none_are_wanted(synthetic_folder: Path, lines: Callable[[], list[str]]) -> None:
    fit(synthetic_folder, monitor=ThroughputMonitor(every_s=0), max_epochs=1, limit_val_batches=0)
    assert lines() == []


class Slow(pl.Callback):
    """A module whose validation takes half a second longer."""

    def on_validation_batch_start(self, *_: Any) -> None:
        time.sleep(0.25)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_time_of_validations_is_not_counted(synthetic_folder: Path, lines: Callable[[], list[str]]) -> None:
    fit(synthetic_folder, max_epochs=1, limit_train_batches=2, callbacks=[Slow()])
    (line,) = lines()
    # 1,000 samples take milliseconds, but two validation batches take 0.5 s.
    assert float(line.split(": ")[1].split(" samples/s")[0].replace(",", "")) > 2500


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_plain_trainer_and_other_loaders_have_no_share_of_waiting(lines: Callable[[], list[str]]) -> None:
    monitor = ThroughputMonitor()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=5,
        callbacks=[monitor],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(make_module(), DataLoader(make_batches(4), batch_size=None))
    first, last = lines()
    assert first.startswith("epoch 1, 64 samples in ")
    assert "waiting" not in first
    assert first.endswith("of training left")
    assert last.startswith("epoch 2, 16 samples in ")
    assert monitor.steps_until_seen(trainer) == math.inf


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lines_go_above_a_bar_on_a_terminal(synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown: list[str] = []
    monkeypatch.setattr(TQDMProgressBar, "print", lambda self, line: shown.append(line))
    monkeypatch.setattr(sys, "stdout", Terminal())
    fit(synthetic_folder, max_epochs=1, limit_val_batches=0, enable_progress_bar=True, callbacks=[TQDMProgressBar()])
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (119, "119 s"), (200, "3 min 20 s"), (18_610, "5 h 10 min")],
)
def test_times_have_two_units_at_most(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
