"""Logs with columns other than Criteo's, and the results of the commands for them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from dlrm_pl.columns.columns import Columns
from tests.reference import click_logs
from tests.support.commands import run, write_config


@dataclass(frozen=True)
class Log:
    """Files of clicks, one table per day, and the folder for the results."""

    raw: Path
    columns: Path
    days: list[pa.Table]
    folder: Path
    split_by: str

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def artifact(self) -> Path:
        return self.folder / "artifact"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "run" / "model.ckpt"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"


def write_columns(columns: Columns, path: Path) -> Path:
    path.write_text(yaml.safe_dump(columns.statement(), allow_unicode=True))
    return path


def preprocess(log: Log, output: Path, *options: object) -> None:
    arguments = ("--raw", log.raw, "--columns", log.columns, "--split_by", log.split_by, "--output", output)
    assert run("preprocess", *arguments, *options) == 0


def fit(log: Log) -> None:
    """Train and quantize; with so few rows the certificate may be undecided."""
    write_config(log.folder, log.dataset, criterion={"relative": 0.2}, max_trials=2, with_vocabulary=True)
    settings = yaml.safe_load(log.config.read_text())
    # 0 stands for the number of dense columns. Adagrad is used because it can learn from a few thousand rows.
    settings["model"] |= {"bottom_mlp": [0, 16, 8], "optimizer": "adagrad", "learning_rate": 0.05}
    log.config.write_text(yaml.safe_dump(settings))
    before = Path.cwd()
    os.chdir(log.folder)
    try:
        assert run("fit", "-c", log.config) in (0, 3, 4)
    finally:
        os.chdir(before)


def plain(columns: Columns) -> dict[str, Any]:
    """Return columns in the form that the slow reference takes."""
    return {
        "label": columns.label,
        "dense": [asdict(column) for column in columns.dense],
        "sparse": [asdict(column) for column in columns.sparse],
    }


def expected_records(columns: Columns, days: list[pa.Table], train_only: bool = False, least: int = 1) -> list[Any]:
    """Return the records of each day, computed value by value, and the values of each table."""
    stated = plain(columns)
    rows = [day.to_pylist() for day in days]
    seen = [row for day in (rows[:-1] if train_only else rows) for row in day]
    values = click_logs.dictionaries(stated, seen, train_only, least)
    return [*(click_logs.records_of(stated, values, day) for day in rows), values]
