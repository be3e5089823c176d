"""Raw logs become dataset folders as with the slow reference; bad logs are explained."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.logs.days import day_files
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.raw_logs.reader import iter_raw_records
from dlrm_pl.errors import ConfigurationError, DataFormatError
from tests.reference import preprocessing as reference
from tests.support.examples import examples
from tests.support.logs.raw_logs import GOOD, line, random_lines, read, write_days


@pytest.mark.untraced
@settings(deadline=None, max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(st.lists(line, min_size=1, max_size=5), min_size=2, max_size=4).filter(lambda d: len(d[-1]) > 1),
    cap=st.sampled_from([0, 7, 40_000_000]),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    compress=st.booleans(),
    randomize=st.sampled_from(["total", "day", "none"]),
)
def test_equals_the_reference(
    days: list[list[bytes]],
    cap: int,
    newline: bytes,
    compress: bool,
    randomize: Literal["total", "day", "none"],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    raw = write_days(folder, days, newline, compress)
    preprocess(raw, folder / "out", PreprocessOptions(max_ind_range=cap, randomize=randomize))
    by_day, values = reference.preprocess(days, cap)
    half = (len(by_day[-1]) + 1) // 2
    found = read(folder / "out")
    assert found["test"] == by_day[-1][:half]
    assert found["val"] == by_day[-1][half:]
    # The order of the training rows is free across all days, within each day, or not at all.
    train = [record for day in by_day[:-1] for record in day]
    ends = np.cumsum([0, *map(len, by_day[:-1])]).tolist()
    parts = {"total": [(0, ends[-1])], "day": itertools.pairwise(ends), "none": ((i, i + 1) for i in range(ends[-1]))}
    assert len(found["train"]) == len(train)
    for start, stop in parts[randomize]:  # type: ignore[attr-defined]
        assert sorted(found["train"][start:stop]) == sorted(train[start:stop])
    vocabulary = Vocabulary.load(folder / "out")
    assert [table.tolist() for table in vocabulary.values] == values


def many_days(rows: int = 30) -> list[list[bytes]]:
    rng = np.random.default_rng(0)
    return [
        [
            b"\t".join([b"%d" % rng.integers(2), *(b"%d" % (100 * day + index) for _ in range(13)), *([b"ab"] * 26)])
            for index in range(rows)
        ]
        for day in range(3)
    ]


def test_total_shuffle_keeps_the_rows_and_the_last_day(tmp_path: Path) -> None:
    raw = write_days(tmp_path, many_days())
    preprocess(raw, tmp_path / "none", PreprocessOptions(randomize="none"))
    preprocess(raw, tmp_path / "total", PreprocessOptions(randomize="total", seed=1))
    preprocess(raw, tmp_path / "again", PreprocessOptions(randomize="total", seed=1))
    preprocess(raw, tmp_path / "other", PreprocessOptions(randomize="total", seed=2))
    plain, total, again, other = (read(tmp_path / name) for name in ("none", "total", "again", "other"))
    assert total == again
    assert total["train"] != other["train"] != plain["train"]
    assert sorted(total["train"]) == sorted(plain["train"])
    assert total["test"] == plain["test"]
    assert total["val"] == plain["val"]


def test_day_shuffle_keeps_each_row_in_its_day(tmp_path: Path) -> None:
    raw = write_days(tmp_path, many_days())
    preprocess(raw, tmp_path / "none", PreprocessOptions(randomize="none"))
    preprocess(raw, tmp_path / "day", PreprocessOptions(randomize="day"))
    plain, shuffled = (read(tmp_path / name)["train"] for name in ("none", "day"))
    assert plain != shuffled
    assert sorted(plain[:30]) == sorted(shuffled[:30])
    assert sorted(plain[30:]) == sorted(shuffled[30:])


def test_kaggle_file_is_cut_into_days_with_the_extra_rows_first(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"\n".join([GOOD] * 16))
    report = preprocess(tmp_path / "train.txt", tmp_path / "out", PreprocessOptions(layout="kaggle"))
    assert report.rows_by_day == (3, 3, 2, 2, 2, 2, 2)
    assert "16 rows of 7 days" in str(report)


def test_progress_counts_every_row(tmp_path: Path) -> None:
    seen: list[tuple[str, float, int]] = []
    preprocess(write_days(tmp_path, many_days()), tmp_path / "out", progress=lambda *told: seen.append(told))
    assert sum(rows for _, _, rows in seen) == 90
    assert seen[-1] == ("writing", 1.0, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD + b"\t1", r"day_0:2: has 41 fields; expected 40"),
        (GOOD.rsplit(b"\t", 1)[0], r"day_0:2: has 39 fields"),
        (b"2" + GOOD[1:], r"day_0:2: field 1 \(label\) is '2'"),
        (GOOD[1:], r"day_0:2: field 1 \(label\) is ''"),
        (b"x" + GOOD[1:], r"day_0:2: field 1 \(label\) is 'x'"),
        (GOOD.replace(b"\t5", b"\t5.5", 1), r"day_0:2: field 2 \(I1\) is '5.5'; expected an integer"),
        (GOOD.replace(b"\t5", b"\t2147483648", 1), r"field 2 \(I1\) is '2147483648', which does not fit in 32 bits"),
        (GOOD.replace(b"\t5", b"\t1_0", 1), r"field 2 \(I1\) is '1_0'"),
        (GOOD.replace(b"\t5", b"\t 5", 1), r"field 2 \(I1\) is ' 5'"),
        (
            GOOD.replace(b"0a1b2c3d", b"0a1b2c3g", 1),
            r"field 15 \(C1\) is '0a1b2c3g'; expected up to 8 hexadecimal digits",
        ),
        (GOOD.replace(b"0a1b2c3d", b"0a1b2c3d4", 1), r"field 15 \(C1\) is '0a1b2c3d4'"),
        (GOOD.replace(b"0a1b2c3d", b"-1", 1), r"field 15 \(C1\) is '-1'"),
        (GOOD.replace(b"0a1b2c3d", b"0x1f", 1), r"field 15 \(C1\) is '0x1f'"),
        (GOOD.replace(b"0a1b2c3d", b"\xff\xfe", 1), r"field 15 \(C1\) is '\\\\xff\\\\xfe'"),
        (b"\n" + GOOD, r"day_0:2: is blank, although more rows follow"),
    ],
)
def test_bad_line_is_named_with_its_text(tmp_path: Path, bad: bytes, message: str) -> None:
    raw = write_days(tmp_path, [[GOOD, bad], [GOOD, GOOD]])
    with pytest.raises(DataFormatError, match=message):
        preprocess(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_trailing_blank_lines_are_fine(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(GOOD + b"\n\n\r\n")
    assert sum(len(chunk) for chunk in iter_raw_records(tmp_path / "log", 0)) == 1


def test_largest_category_fits_without_a_cap(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(GOOD.replace(b"0a1b2c3d", b"FFFFFFFF", 1))
    (chunk,) = iter_raw_records(tmp_path / "log", 0)
    assert chunk[0, 14] == 2**32 - 1


def test_log_without_labels_is_read_for_prediction(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(GOOD[1:])
    (chunk,) = iter_raw_records(tmp_path / "log", 0, labelled=False)
    assert chunk[0, 0] == 0


def test_gz_cut_short_is_rejected(tmp_path: Path) -> None:
    write_days(tmp_path, [[GOOD] * 50, [GOOD] * 50], compress=True)
    path = tmp_path / "day_1.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataFormatError, match=r"day_1\.gz: is truncated or corrupt after line \d+ "):
        preprocess(tmp_path / "day", tmp_path / "out")


def test_damage_in_a_gz_is_named_by_the_last_line_before_it(tmp_path: Path) -> None:
    lines = random_lines(3000, 0)
    write_days(tmp_path, [lines, lines], compress=True)
    path = tmp_path / "day_0.gz"
    whole = b"\n".join(lines)
    half = zlib.compressobj(wbits=31)
    packed = half.compress(whole[: len(whole) // 2]) + half.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(packed)  # All rows in it can be read; only the end is missing.
    with pytest.raises(DataFormatError, match=f"after line {whole[: len(whole) // 2].count(10):,} "):
        preprocess(tmp_path / "day", tmp_path / "out")


def test_missing_day_is_named(tmp_path: Path) -> None:
    raw = write_days(tmp_path, many_days())
    (tmp_path / "day_1").unlink()
    with pytest.raises(DataFormatError, match=r"day_1: is missing, both plain and as \.gz; 3 consecutive days"):
        preprocess(raw, tmp_path / "out")


def test_same_day_twice_is_rejected(tmp_path: Path) -> None:
    raw = write_days(tmp_path, many_days())
    (tmp_path / "day_1.gz").write_bytes(b"")
    with pytest.raises(DataFormatError, match="are the same day"):
        preprocess(raw, tmp_path / "out")


def test_days_are_counted_as_numbers(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"day_{number}").write_bytes(GOOD)
    assert [path.name for path in day_files(tmp_path / "day", None)] == [f"day_{number}" for number in range(12)]


@pytest.mark.parametrize(
    ("days", "message"),
    [([[GOOD]], "1 day file was found; at least 2"), ([], "no day files were found")],
)
def test_too_few_days_are_rejected(tmp_path: Path, days: list[list[bytes]], message: str) -> None:
    with pytest.raises(DataFormatError, match=message):
        preprocess(write_days(tmp_path, days), tmp_path / "out")


def test_empty_day_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="day_0: has no rows"):
        preprocess(write_days(tmp_path, [[], [GOOD, GOOD]]), tmp_path / "out")


def test_last_day_of_one_row_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="day_1: the last day has 1 row; at least 2 are needed"):
        preprocess(write_days(tmp_path, [[GOOD], [GOOD]]), tmp_path / "out")


def test_too_few_rows_for_the_days_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(GOOD)
    with pytest.raises(DataFormatError, match="1 rows cannot be cut into 7 days"):
        preprocess(tmp_path / "train.txt", tmp_path / "out", PreprocessOptions(layout="kaggle"))


def test_one_day_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="days=1"):
        preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(days=1))


def test_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"nothing\.txt: no such raw log"):
        preprocess(tmp_path / "nothing.txt", tmp_path / "out", PreprocessOptions(layout="kaggle"))
