from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import LABEL, SPLITS, open_records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.synthetic.synthesize import synthesize
from dlrm_pl.data.synthetic.world import ClickWorld
from dlrm_pl.errors import ConfigurationError, OutputError
from dlrm_pl.inspection import describe

pytestmark = pytest.mark.long

# Two blocks and a bit, and a last day with an odd number of rows.
ROWS = 40_003


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "clicks"
    synthesize(folder, rows=ROWS, days=3, seed=5, format="dataset")
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "clicks"
    synthesize(folder, rows=ROWS, days=3, seed=5, format="raw")
    return folder


@pytest.fixture(scope="module")
def preprocessed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preprocessed") / "clicks"
    preprocess(raw / "day", folder, PreprocessOptions(randomize="none"))
    return folder


@pytest.mark.parametrize("split", SPLITS)
def test_a_dataset_is_what_preprocessing_the_raw_logs_gives(dataset: Path, preprocessed: Path, split: str) -> None:
    name = f"terabyte_processed_{split}.bin"
    assert (dataset / name).read_bytes() == (preprocessed / name).read_bytes()


def test_its_dictionaries_are_those_of_preprocessing(dataset: Path, preprocessed: Path) -> None:
    ours, theirs = Vocabulary.load(dataset), Vocabulary.load(preprocessed)
    assert ours.sizes == theirs.sizes
    for our_values, their_values in zip(ours.values, theirs.values, strict=True):
        np.testing.assert_array_equal(our_values, their_values)
    assert DatasetFolder.open(dataset).fingerprint == DatasetFolder.open(preprocessed).fingerprint


def test_the_last_day_is_cut_into_test_and_val(dataset: Path) -> None:
    splits = DatasetFolder.open(dataset).splits
    # 40,003 rows in three days: 13,335, 13,334 and 13,334.
    assert {name: split.records for name, split in splits.items()} == {"train": 26_669, "val": 6_667, "test": 6_667}


def test_the_larger_half_of_an_odd_day_is_test(tmp_path: Path) -> None:
    report = synthesize(tmp_path / "clicks", rows=30, days=2, seed=1)
    assert report.rows == {"train": 15, "test": 8, "val": 7}


def test_days_differ_by_a_row_at_most(raw: Path) -> None:
    lines = [(raw / f"day_{day}").read_bytes().count(b"\n") for day in range(3)]
    assert lines == [13_335, 13_334, 13_334]


def test_raw_lines_look_like_those_of_the_logs(raw: Path) -> None:
    lines = (raw / "day_0").read_text(encoding="ascii").splitlines()
    fields = np.array([line.split("\t") for line in lines])
    assert fields.shape == (13_335, 40)
    assert set(fields[:, 0]) == {"0", "1"}
    categories = fields[:, 14:][fields[:, 14:] != ""]
    assert set(map(len, categories)) == {8}
    assert {"-1", "-2"} <= set(fields[:, 2])
    # C20 and I1 are often empty.
    assert (fields[:, 33] == "").mean() == pytest.approx(0.442, abs=0.03)
    assert (fields[:, 1] == "").mean() == pytest.approx(0.451, abs=0.03)


def test_the_best_possible_auroc_is_that_of_the_rows_written(dataset: Path, raw: Path) -> None:
    logit = np.concatenate([block.logit for block in ClickWorld(5, 0.033, 0.82, None).blocks(ROWS)])[-6_667:]
    label = open_records(dataset / split_file_name("val"))[:, LABEL] == 1
    exact = float((logit[label][:, None] > logit[~label][None, :]).mean())
    stated = DatasetFolder.open(dataset).best_possible_auroc
    assert stated["val"] == pytest.approx(exact, abs=1e-5)
    assert json.loads((raw / "synthetic.json").read_text())["best_possible_auroc"] == stated


def test_a_split_of_one_class_states_no_auroc(tmp_path: Path) -> None:
    report = synthesize(tmp_path / "clicks", rows=40, seed=1, label_rate=1e-6)
    assert report.best_possible_auroc == {}
    assert "undefined" in str(report)
    assert "warning: the test split has no clicks in 5 rows: AUROC is undefined on it, so `test`" in str(report)
    assert "warning: the val split has no clicks in 5 rows" in describe(tmp_path / "clicks")
    assert DatasetFolder.open(tmp_path / "clicks").best_possible_auroc == {}


def test_the_report_prints_rows_clicks_and_auroc(tmp_path: Path) -> None:
    report = synthesize(tmp_path / "clicks", rows=40_000, seed=2)
    text = str(report)
    for split in SPLITS:
        assert f"{report.rows[split]:,} rows" in text
        assert f"{report.best_possible_auroc[split]:.6f}" in text
    assert f"{sum(DatasetFolder.open(tmp_path / 'clicks').table_sizes):,} rows" in text


def test_a_seed_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    synthesize(tmp_path / "clicks", rows=2_000, days=2, seed=7)
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update((tmp_path / "clicks" / split_file_name(split)).read_bytes())
    # Drawn from the frozen bit stream of PCG64 using only float64 arithmetic. Rounding in exp, log or pow differs
    # between machines in the last of 53 bits, and changes one row in about 10**10 numbers.
    assert digest.hexdigest() == "835e4d4b61a89a0a7fedab6dd6d08309444a8e0c6668936640bb4cb7db72395a"


def test_another_seed_gives_other_clicks(tmp_path: Path) -> None:
    for seed in (1, 2):
        synthesize(tmp_path / str(seed), rows=2_000, seed=seed, format="raw")
    assert (tmp_path / "1" / "day_0").read_bytes() != (tmp_path / "2" / "day_0").read_bytes()


def test_progress_adds_up_to_the_rows(tmp_path: Path) -> None:
    seen: list[int] = []
    synthesize(tmp_path / "clicks", rows=40_000, progress=seen.append)
    assert len(seen) > 1
    assert sum(seen) == 40_000


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "clicks", rows=100, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output_format", ["dataset", "raw"])
def test_an_earlier_output_is_replaced_when_asked_and_nothing_else(tmp_path: Path, output_format: Any) -> None:
    def write(seed: int, *, overwrite: bool = False) -> None:
        synthesize(tmp_path / "clicks", rows=100, seed=seed, format=output_format, overwrite=overwrite)

    write(1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "clicks").iterdir()}
    write(1)  # The same bytes again: nothing is lost.
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "clicks").iterdir()}
    with pytest.raises(OutputError, match=r"seed changed from 1 to 2\. Choose another folder, or give --overwrite"):
        write(2)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "clicks").iterdir()}
    write(2, overwrite=True)
    (tmp_path / "clicks" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"did not write, notes\.txt, and will not be replaced"):
        write(2, overwrite=True)
    assert (tmp_path / "clicks" / "notes.txt").read_text() == "mine"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(OutputError, match="mine"):
        synthesize(tmp_path / "mine", rows=100, format=output_format)
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize("output_format", ["dataset", pytest.param("raw", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, output_format: Any) -> None:
    peaks = []
    for rows in (34_000, 67_000):
        tracemalloc.start()
        # Tables are cut, because the ids of the values that occur are kept.
        synthesize(tmp_path / str(rows), rows=rows, max_table_size=100, format=output_format)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_tables_can_be_cut(tmp_path: Path) -> None:
    synthesize(tmp_path / "clicks", rows=20_000, max_table_size=50)
    # Plus a row for the empty field.
    assert max(DatasetFolder.open(tmp_path / "clicks").table_sizes) == 51


def test_the_smallest_tables_and_the_fewest_rows_work(tmp_path: Path) -> None:
    report = synthesize(tmp_path / "clicks", rows=4, days=2, max_table_size=2)
    assert report.rows == {"train": 2, "test": 1, "val": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "orc"}, r"format='orc' must be one of 'dataset', 'raw', 'csv', 'parquet'"),
        ({"format": "csv", "columns": Columns.read("example")}, r"format=csv cannot hold the lists of column sizes"),
        ({"format": "raw", "columns": Columns.read("avazu")}, r"format=raw is for columns like Criteo's"),
        ({"seed": -1}, r"seed=-1 must be 0 or more"),
        ({"days": 1}, r"days=1: at least 2 are needed"),
        ({"rows": 7, "days": 4}, r"rows=7 is too small for 4 days: at least 8 are needed"),
        ({"label_rate": 0.0}, r"label_rate=0\.0 must be between 0 and 1"),
        ({"label_rate": 1.0}, r"label_rate=1\.0 must be between 0 and 1"),
        ({"best_auroc": 0.5}, r"best_auroc=0\.5 must be between 0\.5 and 1"),
        ({"best_auroc": 1.0}, r"best_auroc=1\.0 must be between 0\.5 and 1"),
        ({"max_table_size": 1}, r"max_table_size=1 must be at least 2"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        synthesize(tmp_path / "clicks", **options)
    assert list(tmp_path.iterdir()) == []


def test_torch_is_not_needed() -> None:
    program = "import dlrm_pl.data.synthetic.synthesize, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("best_auroc", [0.7, 0.9])
def test_rows_are_as_hard_as_asked(tmp_path: Path, best_auroc: float) -> None:
    report = synthesize(
        tmp_path / "data", rows=40_000, days=2, label_rate=0.2, best_auroc=best_auroc, max_table_size=50
    )
    # The standard error of AUROC on 20,000 rows with 4,000 clicks is below 0.005.
    assert report.best_possible_auroc["train"] == pytest.approx(best_auroc, abs=0.02)
