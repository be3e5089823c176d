"""Options that decide which rows and categories are kept."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import ConfigurationError, DataFormatError
from tests.reference import preprocessing as reference
from tests.support.examples import examples
from tests.support.logs.raw_logs import GOOD, line, random_lines, read, write_days


@pytest.mark.untraced
@settings(deadline=None, max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(st.lists(line, min_size=1, max_size=6), min_size=2, max_size=3).filter(lambda d: len(d[-1]) > 1),
    cap=st.sampled_from([0, 7, 40_000_000]),
    min_count=st.integers(1, 3),
    randomize=st.sampled_from(["none", "total"]),
)
def test_ids_of_training_days_alone(
    days: list[list[bytes]], cap: int, min_count: int, randomize: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    raw = write_days(folder, days)
    options = PreprocessOptions(max_ind_range=cap, randomize=randomize, vocabulary="train_only", min_count=min_count)  # type: ignore[arg-type]
    preprocess(raw, folder / "out", options)
    by_day, values = reference.preprocess_train_only(days, cap, min_count)
    found = read(folder / "out")
    half = (len(by_day[-1]) + 1) // 2
    train = [record for day in by_day[:-1] for record in day]
    assert sorted(found["train"]) == sorted(train)
    assert randomize == "total" or found["train"] == train
    assert found["test"] + found["val"] == by_day[-1]
    assert len(found["test"]) == half
    vocabulary = Vocabulary.load(folder / "out")
    assert [table.tolist() for table in vocabulary.values] == values
    # `predict --raw` gives the same ids for the same lines.
    raw_values = np.array([reference.parse(one, cap)[14:] for one in days[-1]])
    assert vocabulary.encode(raw_values)[0].tolist() == [record[14:] for record in by_day[-1]]


@pytest.mark.parametrize(
    "rule", [PreprocessOptions(), PreprocessOptions(vocabulary="train_only", min_count=2)], ids=["reference", "own"]
)
def test_vocabulary_of_another_dataset(raw: Path, tmp_path: Path, rule: PreprocessOptions) -> None:
    preprocess(raw, tmp_path / "old", rule)
    new = write_days(tmp_path / "new", [random_lines(50, 0), [*random_lines(50, 0), *random_lines(20, 99, values=900)]])
    report = preprocess(new, tmp_path / "out", PreprocessOptions(vocabulary_from=tmp_path / "old", randomize="none"))
    assert report.folder.fingerprint == DatasetFolder.open(tmp_path / "old").fingerprint
    vocabulary = Vocabulary.load(tmp_path / "old")
    lines = [*random_lines(50, 0), *random_lines(20, 99, values=900)]
    ids, unseen = vocabulary.encode(np.array([reference.parse(one, 40_000_000)[14:] for one in lines]))
    found = read(tmp_path / "out")
    assert [record[14:] for record in found["test"] + found["val"]] == ids.tolist()
    assert f"{report.folder.report['unknown_values']:,} category values are not in the vocabulary" in str(report)
    assert unseen > 0
    with pytest.raises(ConfigurationError, match="max_ind_range=7, but the vocabulary"):
        preprocess(new, tmp_path / "x", PreprocessOptions(vocabulary_from=tmp_path / "old", max_ind_range=7))


def test_subsample_drops_the_same_non_clicks_whatever_the_chunks(raw: Path, tmp_path: Path) -> None:
    options = [PreprocessOptions(subsample_rate=0.75, workers=w, memory_bytes=m << 20) for w, m in ((1, 512), (3, 16))]
    for number, one in enumerate(options):
        preprocess(raw, tmp_path / str(number), one)
    assert read(tmp_path / "0") == read(tmp_path / "1")
    preprocess(raw, tmp_path / "all", PreprocessOptions())
    fewer, whole = (DatasetFolder.open(tmp_path / name).splits["train"] for name in ("0", "all"))
    assert fewer.positives == whole.positives
    assert whole.positives is not None
    share = (fewer.records - whole.positives) / (whole.records - whole.positives)
    assert share == pytest.approx(0.25, abs=0.03)
    # The vocabulary comes from the rows that are kept.
    assert DatasetFolder.open(tmp_path / "0").table_sizes[25] == sum(
        split.records for split in DatasetFolder.open(tmp_path / "0").splits.values()
    )


def test_bad_rows_may_be_left_out(tmp_path: Path) -> None:
    good = random_lines(2000, 0)
    bad = [GOOD + b"\t1", b"2" + GOOD[1:], GOOD.replace(b"\t5", b"\tx", 1), b""]
    mixed = [*good[:700], *bad[:2], *good[700:1500], *bad[2:], *good[1500:], b"", b""]
    raw = write_days(tmp_path / "raw", [mixed, good])
    clean = write_days(tmp_path / "clean", [good, good])
    options = PreprocessOptions(bad_rows=0.01, memory_bytes=16 << 20, workers=2, checkpoint_bytes=1 << 16)
    report = preprocess(raw, tmp_path / "out", options)
    preprocess(clean, tmp_path / "plain", PreprocessOptions())
    assert read(tmp_path / "out") == read(tmp_path / "plain")
    rejected = [line.split(b"\t", 3) for line in (tmp_path / "out" / "rejected.tsv").read_bytes().splitlines()]
    assert [(int(number), kind.decode(), text) for _, number, kind, text in rejected] == [
        (701, "fields", bad[0]),
        (702, "label", bad[1]),
        (1503, "integer", bad[2]),
        (1504, "blank", b""),
    ]
    assert report.folder.report["rejected"] == {"fields": 1, "label": 1, "integer": 1, "blank": 1}
    assert "rejected   4 rows" in str(report)
    with pytest.raises(DataFormatError, match=r"4 of 4,004 lines .* allows only 0\.050%\. .*day_0:701 \(fields\)"):
        preprocess(raw, tmp_path / "strict", PreprocessOptions(bad_rows=0.0005))
    assert not (tmp_path / "strict").exists()


def test_blank_lines_across_chunks_are_judged_by_what_follows(tmp_path: Path) -> None:
    # Blank lines fill more than a chunk of 64 KiB.
    blank = [b""] * 1000
    lines = random_lines(500, 0)
    small = PreprocessOptions(memory_bytes=16 << 20, workers=2)
    raw = write_days(tmp_path / "ends", [lines + blank, lines + blank])
    assert preprocess(raw, tmp_path / "out", small).rows_by_day == (500, 500)
    raw = write_days(tmp_path / "middle", [lines + blank + lines, lines])
    with pytest.raises(DataFormatError, match="day_0:501: is blank, although more rows follow"):
        preprocess(raw, tmp_path / "other", small)


def test_one_very_long_line_is_no_click_log(tmp_path: Path) -> None:
    (tmp_path / "day_0").write_bytes(b"x" * 5_000_000)
    (tmp_path / "day_1").write_bytes(GOOD)
    with pytest.raises(
        DataFormatError, match=r"day_0:1: is longer than 32,000 bytes, too long for a row of a click log"
    ):
        preprocess(tmp_path / "day", tmp_path / "out")


@pytest.mark.each_value
@pytest.mark.untraced
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rows", [14, 16, 1000, 7001])
def test_kaggle_days_are_those_of_array_split(tmp_path: Path, rows: int, compress: bool) -> None:
    lines = random_lines(rows, 3)
    text = b"\n".join(lines) + b"\n\n"
    path = tmp_path / ("train.txt.gz" if compress else "train.txt")
    path.write_bytes(gzip.compress(text) if compress else text)
    options = PreprocessOptions(layout="kaggle", randomize="none", memory_bytes=16 << 20, checkpoint_bytes=1 << 16)
    report = preprocess(path, tmp_path / "out", options)
    days = [list(part) for part in np.array_split(np.array(lines, dtype=object), 7)]
    assert report.rows_by_day == tuple(len(day) for day in days)
    by_day, _ = reference.preprocess(days, 40_000_000)
    found = read(tmp_path / "out")
    assert found["train"] == [record for day in by_day[:-1] for record in day]
    assert found["test"] + found["val"] == by_day[-1]
