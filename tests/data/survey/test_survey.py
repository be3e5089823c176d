"""The numbers in a dataset's figures, compared with independent counts of its files."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.survey import labels, sample
from dlrm_pl.data.survey.survey import survey
from dlrm_pl.data.synthetic.synthesize import synthesize
from dlrm_pl.errors import DataFormatError, DatasetError
from dlrm_pl.metrics.share_interval import share_interval

FIELDS = 40  # A record with Criteo's columns: label, 13 numbers, 26 ids.


def records(folder: Path, split: str) -> npt.NDArray[np.int32]:
    return np.fromfile(folder / f"terabyte_processed_{split}.bin", "<i4").reshape(-1, FIELDS)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Raw logs of three days, and the dataset that `preprocess` made from them."""
    folder = tmp_path_factory.mktemp("logs")
    synthesize(folder / "logs", rows=3_000, days=3, max_table_size=60, format="raw", label_rate=0.2)
    preprocess(folder / "logs" / "day", folder / "clicks", PreprocessOptions(workers=1))
    return folder / "logs", folder / "clicks"


def test_click_rates_are_those_of_the_logs(logs: tuple[Path, Path]) -> None:
    found = survey(logs[1])
    for number, rate in enumerate(found.rates):
        clicks = [line[0] == "1" for line in (logs[0] / f"day_{number}").read_text().splitlines()]
        assert rate.name == f"day {number}"
        assert rate.rows == len(clicks)
        assert rate.rate == pytest.approx(np.mean(clicks), abs=1e-6)
        assert rate.sampled is None
    assert len(found.rates) == 3
    whole = np.concatenate([records(logs[1], split)[:, 0] for split in ("train", "val", "test")])
    assert found.rows == len(whole) == 3_000
    assert found.rate == pytest.approx(whole.mean())
    assert found.is_exact


def test_missing_values_are_those_of_the_logs_and_of_the_report(logs: tuple[Path, Path]) -> None:
    found = survey(logs[1])
    assert found.missing is not None
    lines = [line for day in range(3) for line in (logs[0] / f"day_{day}").read_text().splitlines()]
    fields = np.array([[not field for field in line.split("\t")] for line in lines])
    names = [f"I{n}" for n in range(1, 14)] + [f"C{n}" for n in range(1, 27)]
    expected = dict(zip(names, fields[:, 1:].mean(axis=0), strict=True))
    assert found.missing == pytest.approx(expected, abs=1e-6)
    assert max(found.missing.values()) > 0.1
    assert dict(found.missing) == json.loads((logs[1] / "dataset.json").read_text())["report"]["missing_rates"]


def test_skew_is_that_of_all_rows_where_the_sample_has_all(synthetic_folder: Path) -> None:
    found = survey(synthetic_folder)
    rows = records(synthetic_folder, "train")
    assert (found.sampled_split, found.sampled) == ("train", len(rows))
    for table, skew in enumerate(found.skew):
        counts = [count for _, count in Counter(rows[:, 14 + table].tolist()).most_common()]
        assert skew.name == f"C{table + 1}"
        assert (skew.ids, skew.distinct) == (len(rows), len(counts))
        assert skew.shares == pytest.approx([sum(counts[:top]) / len(rows) for top in (1, 10, 100, 1000)])
        assert (skew.empty, skew.mean_length) == (None, None)
    assert len(found.skew) == 26


def test_dataset_without_report_says_what_it_does_not_know(synthetic_folder: Path) -> None:
    found = survey(synthetic_folder)
    assert found.missing is None
    assert "not made by preprocess" in found.why_not_missing
    assert [rate.name for rate in found.rates] == ["train", "val", "test"]
    assert found.rates == found.splits
    assert found.best_possible_auroc.keys() == {"train", "val", "test"}


def test_lists_are_counted_by_their_elements(tmp_path: Path) -> None:
    columns = Columns.read("example")
    synthesize(tmp_path / "clicks", columns=columns, rows=2_000, days=2, max_table_size=60)
    found = survey(tmp_path / "clicks")
    rows = np.fromfile(tmp_path / "clicks" / "terabyte_processed_train.bin", "<i4").reshape(-1, columns.record_ints)
    by_name = {skew.name: skew for skew in found.skew}
    for column, fields in zip(columns.sparse, columns.table_fields, strict=True):
        bags = [[value for value in bag if value >= 0] for bag in rows[:, fields].tolist()]
        skew, elements = by_name[column.name], Counter(value for bag in bags for value in bag)
        assert skew.ids == sum(map(len, bags))
        assert skew.distinct == len(elements)
        assert skew.shares[0] == pytest.approx(elements.most_common(1)[0][1] / skew.ids)
        if column.is_list:
            assert skew.mean_length == pytest.approx(np.mean([len(bag) for bag in bags]))
            assert skew.empty == pytest.approx(np.mean([not bag for bag in bags]))
        else:
            assert skew.mean_length is None
    assert 0 < (by_name["tags"].empty or 0) < 1


def days_folder(folder: Path, days: int = 3, rows: int = 1_000) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for day in range(days):
        np.save(folder / f"day_{day}_dense.npy", rng.random((rows, 4), np.float32))
        np.save(folder / f"day_{day}_labels.npy", (rng.random((rows, 1)) < 0.1 * (day + 1)).astype(np.int32))
        np.save(folder / f"day_{day}_sparse.npy", rng.zipf(1.5, (rows, 3)).clip(max=10**6).astype(np.int32))
    return folder


def test_days_of_torchrec_without_a_description(tmp_path: Path) -> None:
    found = survey(days_folder(tmp_path / "days"))
    assert found.table_sizes is None
    assert found.missing is None
    for day, rate in enumerate(found.rates):
        values = np.load(tmp_path / "days" / f"day_{day}_labels.npy")
        assert (rate.name, rate.rows, rate.sampled) == (f"day {day}", 1_000, None)
        assert rate.rate == pytest.approx(values.mean())
    ids = np.concatenate([np.load(tmp_path / "days" / f"day_{day}_sparse.npy") for day in range(2)])
    for table, skew in enumerate(found.skew):
        counts = [count for _, count in Counter(ids[:, table].tolist()).most_common()]
        assert skew.name == f"cat_{table}"
        assert skew.shares == pytest.approx([sum(counts[:top]) / 2_000 for top in (1, 10, 100, 1000)])


def test_days_that_preprocess_made_have_its_report(logs: tuple[Path, Path], tmp_path: Path) -> None:
    preprocess(logs[0] / "day", tmp_path / "days", PreprocessOptions(flavor="torchrec", seed=0, workers=1))
    found, same = survey(tmp_path / "days"), survey(logs[1])
    assert [(rate.name, rate.rows, rate.rate) for rate in found.rates] == [
        (rate.name, rate.rows, rate.rate) for rate in same.rates
    ]
    assert found.missing == same.missing
    assert found.table_sizes is not None


def test_many_labels_of_days_are_sampled_with_an_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = days_folder(tmp_path / "days", rows=20_000)
    monkeypatch.setattr(labels, "COUNT_AT_MOST", 100)
    monkeypatch.setattr(sample, "MOST_ROWS", 4_096)
    for day, rate in enumerate(survey(folder).rates):
        true = np.load(folder / f"day_{day}_labels.npy").mean()
        assert rate.sampled == 4_096
        assert rate.sampled is not None
        low, high = share_interval(rate.rate, rate.sampled)
        assert low < rate.rate < high
        # Three standard errors of a share of 4,096 independent rows.
        assert abs(rate.rate - true) < 3 * np.sqrt(true * (1 - true) / 4_096)


def test_labels_that_are_no_labels_are_named(tmp_path: Path) -> None:
    folder = days_folder(tmp_path / "days")
    values = np.load(folder / "day_1_labels.npy")
    values[123] = 7
    np.save(folder / "day_1_labels.npy", values)
    with pytest.raises(DataFormatError, match=r"day_1_labels\.npy: row 123: the label is 7"):
        survey(folder)


def test_damaged_row_of_the_sample_is_named(dataset_copy: Path) -> None:
    path = dataset_copy / "terabyte_processed_train.bin"
    values = np.fromfile(path, "<i4").reshape(-1, FIELDS)
    values[77, 20] = 10**6
    values.tofile(path)
    with pytest.raises(DataFormatError, match=r"train\.bin: record 77"):
        survey(dataset_copy)


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such dataset folder"):
        survey(tmp_path / "nothing")


@pytest.mark.parametrize("num_rows", [1, 511, 512, 5_000, 262_144, 262_145, 10**7, 4 * 10**9])
@pytest.mark.parametrize("row_bytes", [4, 160, 4_096, 262_144])
def test_sample_is_bounded_and_from_all_over_the_file(num_rows: int, row_bytes: int) -> None:
    size = sample.sample_size(num_rows, row_bytes)
    blocks = list(sample.sampled_rows(num_rows, size))
    assert size <= min(num_rows, sample.MOST_ROWS)
    assert size * row_bytes <= sample.MOST_BYTES
    assert sum(block.stop - block.start for block in blocks) == size
    assert all(0 <= block.start < block.stop <= num_rows for block in blocks)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(blocks))
    assert blocks == list(sample.sampled_rows(num_rows, size))
    if len(blocks) > 20:
        middles = np.array([(block.start + block.stop) / 2 for block in blocks]) / num_rows
        assert middles[0] < 0.1
        assert middles[-1] > 0.9
        assert np.abs(middles - (np.arange(len(blocks)) + 0.5) / len(blocks)).max() < 1 / len(blocks)


def test_skew_of_a_sample_is_close_to_that_of_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesize(tmp_path / "clicks", rows=60_000, days=3, seed=3, max_table_size=300)
    whole = survey(tmp_path / "clicks")
    monkeypatch.setattr(sample, "MOST_ROWS", 8_192)
    part = survey(tmp_path / "clicks")
    assert (whole.sampled, part.sampled) == (40_000, 8_192)
    for all_rows, some in zip(whole.skew, part.skew, strict=True):
        # Four standard errors of a share of 8,192 rows.
        assert some.shares[0] == pytest.approx(all_rows.shares[0], abs=4 * 0.5 / np.sqrt(8_192))
