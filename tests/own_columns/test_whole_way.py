"""An Avazu-shaped CSV file and a folder of Parquet files with lists are processed from files to probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import dlrm_pl
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import Split, open_records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from tests.support.commands import run
from tests.support.logs.click_tables import write_arrow, write_csv, write_parquet
from tests.support.logs.own_columns import Log, expected_records, preprocess

# Lightning warns about a short run's logging interval.
pytestmark = [pytest.mark.untraced, pytest.mark.filterwarnings("ignore::UserWarning")]

# A row's position in its batch determines whether its sigmoid is vectorized.
LAST_BIT = 4 * np.finfo(np.float32).eps


def read(dataset: Path, *splits: Split) -> list[list[list[int]]]:
    """Return the records of train, test and val, or of some of them."""
    columns = DatasetFolder.open(dataset).columns
    names: tuple[Split, ...] = splits or ("train", "test", "val")
    return [open_records(dataset / split_file_name(name), columns).tolist() for name in names]


def test_records_are_those_of_the_slow_reference(log: Log) -> None:
    columns = DatasetFolder.open(log.dataset).columns
    first, second, last, _ = expected_records(columns, log.days)
    half = (len(last) + 1) // 2
    assert read(log.dataset) == [first + second, last[:half], last[half:]]


def test_everything_states_the_columns(log: Log) -> None:
    wanted = DatasetFolder.open(log.dataset).columns
    stated = wanted.statement()
    assert json.loads((log.dataset / "dataset.json").read_text())["columns"] == stated
    assert json.loads((log.artifact / "certificate.json").read_text())["columns"] == stated
    assert json.loads((log.artifact / "manifest.json").read_text())["columns"] == stated
    assert Columns.of_statement(stated, "dataset.json") == wanted


def test_model_learns_and_int8_keeps_it(log: Log) -> None:
    certificate = json.loads((log.artifact / "certificate.json").read_text())
    assert certificate["fp32"]["auroc"] > 0.55
    assert abs(certificate["auroc_drop"]) < 0.02


def test_certificate_is_verified(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "--artifact", log.artifact, "--data", log.dataset, "--ckpt_path", log.checkpoint) == 0
    assert "re-measured: AUROC drop" in capsys.readouterr().out


def test_commands_show_the_columns(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    name = DatasetFolder.open(log.dataset).columns.sparse[0].name
    for path in (log.dataset, log.checkpoint, log.artifact):
        assert run("inspect", path) == 0
        assert name in capsys.readouterr().out
    assert run("test", "-c", log.config, "--ckpt_path", log.checkpoint) == 0


def test_every_way_to_score_gives_the_same_probabilities(log: Log, tmp_path: Path) -> None:
    """Records, files of each format, and frames; with the dataset's vocabulary and with the artifact's own."""
    artifact = ("predict", "--artifact", log.artifact)
    assert run(*artifact, "--data", log.dataset, "--output", tmp_path / "split.npy") == 0
    wanted = np.load(tmp_path / "split.npy")
    day = log.days[-1]

    files = [write_parquet([day], tmp_path / "parquet"), write_arrow([day], tmp_path / "arrow")]
    if "list" not in str(day.schema):
        files += [write_csv(day, tmp_path / "day.csv"), write_csv(day, tmp_path / "day.tsv", "\t")]
    for number, raw in enumerate(files):
        for place, data in (("data", ["--data", log.dataset]), ("alone", [])):
            output = tmp_path / f"{number}-{place}.npy"
            assert run(*artifact, *data, "--raw", raw, "--output", output) == 0
            np.testing.assert_allclose(np.load(output)[: len(wanted)], wanted, rtol=LAST_BIT)

    loaded = dlrm_pl.load_artifact(log.artifact)
    for frame in (day, pl.from_arrow(day), day.to_pylist()[:0] or day.to_batches()[0]):
        for source in (log.dataset, log.artifact, loaded, DatasetFolder.open(log.dataset)):
            batch = dlrm_pl.ClickBatch.from_frame(frame, source)
            np.testing.assert_allclose(loaded.predict(batch)[: len(wanted)], wanted, rtol=LAST_BIT)


def test_frame_of_pandas_without_lists(avazu: Log) -> None:
    day = avazu.days[-1]
    loaded = dlrm_pl.load_artifact(avazu.artifact)
    wanted = loaded.predict(dlrm_pl.ClickBatch.from_frame(day, avazu.dataset))
    np.testing.assert_array_equal(loaded.predict(dlrm_pl.ClickBatch.from_frame(day.to_pandas(), avazu.dataset)), wanted)


def test_values_that_training_has_not_seen_are_counted(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = next(each.name for each in DatasetFolder.open(log.dataset).columns.sparse if each.kind == "string")
    day = log.days[-1]
    new = day.set_column(day.column_names.index(column), column, pa.array(["未知"] * len(day)))
    raw = write_parquet([new], tmp_path / "new")
    assert run("predict", "--artifact", log.artifact, "--raw", raw, "--output", tmp_path / "p.npy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["unseen_values"] == len(day)


@pytest.mark.each_value
@pytest.mark.parametrize("options", [("--memory", "64MiB"), ("--threads", "2"), ("--memory", "1GiB")])
def test_resources_change_no_byte(log: Log, tmp_path: Path, options: tuple[str, str]) -> None:
    preprocess(log, tmp_path / "again", "--randomize", "none", *options)
    for path in log.dataset.glob("*.bin"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert DatasetFolder.open(tmp_path / "again").fingerprint == DatasetFolder.open(log.dataset).fingerprint


def test_categories_of_training_days_alone(shop_files: Log, tmp_path: Path) -> None:
    options = ("--randomize", "none", "--vocabulary", "train_only", "--min_count", 2)
    preprocess(shop_files, tmp_path / "dataset", *options)
    columns = DatasetFolder.open(tmp_path / "dataset").columns
    first, second, last, _ = expected_records(columns, shop_files.days, train_only=True, least=2)
    half = (len(last) + 1) // 2
    assert read(tmp_path / "dataset") == [first + second, last[:half], last[half:]]


def test_mean_and_deviation_are_those_of_the_training_rows(shop: Log) -> None:
    prices = pa.concat_tables(shop.days[:-1])["price"].drop_null().to_numpy()
    price = DatasetFolder.open(shop.dataset).columns.dense[1]
    assert price.mean == pytest.approx(prices.mean(), rel=1e-6)
    assert price.deviation == pytest.approx(prices.std(), rel=1e-6)


def test_new_day_takes_the_ids_of_the_first_dataset(log: Log, tmp_path: Path) -> None:
    raw = write_parquet([log.days[-1]], tmp_path / "day")
    output = tmp_path / "next"
    options = ("--columns", log.columns, "--split_by", "files", "--vocabulary_from", log.dataset, "--output", output)
    assert run("preprocess", "--raw", raw, *options) == 0
    assert read(output, "test", "val") == read(log.dataset, "test", "val")
    assert run("test", "-c", log.config, "--ckpt_path", log.checkpoint, "--data.folder", output) == 0
