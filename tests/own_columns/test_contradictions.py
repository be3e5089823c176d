"""Columns that contradict the dataset, the checkpoint or the artifact: the message says which and how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import dlrm_pl
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from tests.support.commands import caplog_of, expect_error, run
from tests.support.logs.click_tables import SHOP, shop_table, write_parquet
from tests.support.logs.own_columns import Log

pytestmark = [pytest.mark.untraced, pytest.mark.filterwarnings("ignore::UserWarning")]

Change = Callable[[dict[str, Any]], object]

CHANGES: list[tuple[Change, str]] = [
    (lambda stated: stated["sparse"][0].update(name="town"), "sparse column 0 is"),
    (lambda stated: stated["sparse"].reverse(), "sparse column 0 is"),
    (lambda stated: stated["dense"].reverse(), "dense column 0 is"),
    (lambda stated: stated["sparse"][0].update(kind="integer"), "column city has kind="),
    (lambda stated: stated["sparse"][0].update(ids="hash", rows=40), "column city has ids="),
    (lambda stated: stated["sparse"][1].update(rows=51), "column product has rows="),
    (lambda stated: stated["sparse"][2].update(at_most=5), "column tags has at_most="),
    (lambda stated: stated["sparse"][2].update(pooling="sum"), "column tags has pooling="),
    (lambda stated: stated["dense"][0].update(transform="none"), "column age has transform="),
    (lambda stated: stated["sparse"].pop(), "sparse columns"),
    (lambda stated: stated.update(label="sold"), "the label is"),
]


def changed(change: Change, columns: Columns) -> dict[str, Any]:
    stated = json.loads(json.dumps(columns.statement()))
    change(stated)
    return dict(stated)


def sold(table: pa.Table) -> pa.Table:
    """Add the columns that the changed descriptions need."""
    return table.append_column("sold", table["clicked"]).append_column("town", table["city"])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write files that fit all of the changed columns except those of another kind."""
    return write_parquet(
        [sold(shop_table(300, day, day)) for day in (1, 2)], tmp_path_factory.mktemp("wide") / "clicks"
    )


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message for _, message in CHANGES])
def test_vocabulary_of_other_columns(
    change: Change, message: str, shop: Log, wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(changed(change, SHOP)))
    options = ("--columns", tmp_path / "other.yaml", "--split_by", "files", "--vocabulary_from", shop.dataset)
    expect_error(capsys, message, "preprocess", "--raw", wide, "--output", tmp_path / "dataset", *options)
    assert not (tmp_path / "dataset").exists()


@pytest.fixture(scope="module", params=[0, 1, 2, 6, 7, 8, 9])
def other(
    request: pytest.FixtureRequest, shop: Log, wide: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A dataset with other columns; mean and deviation are given, so that they are not what differs first."""
    change, message = CHANGES[request.param]
    folder = tmp_path_factory.mktemp("other")
    stated = changed(change, DatasetFolder.open(shop.dataset).columns)
    (folder / "other.yaml").write_text(yaml.safe_dump(stated, allow_unicode=True))
    options = ("--columns", folder / "other.yaml", "--split_by", "files", "--output", folder / "dataset")
    assert run("preprocess", "--raw", wide, *options) == 0
    return folder / "dataset", message


def test_dataset_of_other_columns(shop: Log, other: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    dataset, message = other
    capsys.readouterr()
    expect_error(capsys, f"(?i){message}", "verify", "--artifact", shop.artifact, "--data", dataset)
    data, module = dlrm_pl.DLRMDataModule(dataset), dlrm_pl.load_checkpoint(shop.checkpoint)
    with pytest.raises(dlrm_pl.DLRMError, match=f"(?i){message}"):
        module.check_dataset(data.table_sizes, data.dataset_fingerprint, data.columns)


@pytest.mark.parametrize("other", [8], indirect=True)
def test_every_command_refuses_a_dataset_of_other_columns(
    shop: Log, other: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, message = other
    message = f"(?i){message}"
    capsys.readouterr()
    checkpoint = ("-c", shop.config, "--ckpt_path", shop.checkpoint, "--data.folder", dataset)
    expect_error(capsys, message, "test", *checkpoint)
    expect_error(capsys, message, "fit", *checkpoint, "--overwrite")
    expect_error(capsys, message, "quantize", *checkpoint, "--output", tmp_path / "artifact")
    output = tmp_path / "p.npy"
    expect_error(capsys, message, "predict", "--artifact", shop.artifact, "--data", dataset, "--output", output)
    expect_error(capsys, message, "predict", *checkpoint, "--output", output)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(dlrm_pl.DLRMError, match=message):
        dlrm_pl.quantize(
            dlrm_pl.load_checkpoint(shop.checkpoint), dlrm_pl.DLRMDataModule(dataset), output=tmp_path / "artifact"
        )


@pytest.mark.parametrize("other", [8], indirect=True)
def test_dataset_of_other_columns_by_force(shop: Log, other: tuple[Path, str]) -> None:
    """A warning says what differs."""
    dataset, message = other
    arguments = ("-c", shop.config, "--ckpt_path", shop.checkpoint, "--data.folder", dataset)
    with caplog_of("dlrm_pl") as lines:
        assert run("test", *arguments, "--force", "true") == 0
    assert any(message in line.lower() for line in lines)


def test_frame_that_lacks_a_column(shop: Log) -> None:
    day = shop.days[0].drop_columns(["city"])
    with pytest.raises(dlrm_pl.DLRMError, match="city"):
        dlrm_pl.ClickBatch.from_frame(day, shop.dataset)
    with pytest.raises(dlrm_pl.DLRMError, match="citi"):
        dlrm_pl.ClickBatch.from_frame(day.append_column("citi", shop.days[0]["city"]), shop.artifact)


def test_artifact_without_vocabulary_says_what_to_do(
    shop: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("-c", shop.config, "--ckpt_path", shop.checkpoint, "--trainer.callbacks", "null")
    assert run("quantize", *options, "--output", tmp_path / "bare", "--relative", 0.2, "--max_trials", 1) in (0, 3, 4)
    capsys.readouterr()
    raw = ("--raw", shop.raw, "--output", tmp_path / "p.npy")
    expect_error(capsys, "with_vocabulary", "predict", "--artifact", tmp_path / "bare", *raw)
    with pytest.raises(dlrm_pl.DLRMError, match="with_vocabulary"):
        dlrm_pl.ClickBatch.from_frame(shop.days[0], tmp_path / "bare")


def test_damaged_vocabulary_of_an_artifact_is_found(
    shop: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = Path(shutil.copytree(shop.artifact, tmp_path / "artifact"))
    (path,) = artifact.glob("*vocabulary*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    raw = ("--raw", shop.raw, "--output", tmp_path / "p.npy")
    expect_error(capsys, "vocabulary", "predict", "--artifact", artifact, *raw)
    expect_error(capsys, "vocabulary", "verify", "--artifact", artifact, "--data", shop.dataset)


def test_unknown_name_of_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--raw", tmp_path, "--output", tmp_path / "dataset", "--columns")
    expect_error(capsys, r"avasu.*avazu", "preprocess", *common, "avasu")
    (tmp_path / "c.yaml").write_text("label: click\ndense: [{name: a, typ: float}]\nsparse: [{name: b}]\n")
    expect_error(capsys, r"c\.yaml.*typ", "preprocess", *common, tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("label: click\ndense: [{name: a}]\nsparse: [{name: a}]\n")
    expect_error(capsys, r"c\.yaml.*'a'", "preprocess", *common, tmp_path / "c.yaml")
