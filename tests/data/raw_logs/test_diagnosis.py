"""Messages for files that are not click logs, and for day files with other names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.preprocessing.logs.days import day_files
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.raw_logs.reader import iter_raw_records
from dlrm_pl.errors import DataFormatError
from tests.support.logs.raw_logs import GOOD, random_lines

LINES = random_lines(50, 0)
TEXT = b"\n".join(LINES) + b"\n"
HEADER = b"\t".join([b"label", *(b"I%d" % i for i in range(1, 14)), *(b"C%d" % i for i in range(1, 27))])


def each(change: Callable[[bytes], bytes]) -> bytes:
    return b"\n".join(map(change, LINES)) + b"\n"


SHAPES = {
    "commas": (each(lambda line: line.replace(b"\t", b",")), r"40 fields separated by commas; expected tabs"),
    "csv with a header": (
        (HEADER + b"\n" + TEXT).replace(b"\t", b","),
        r"40 fields separated by commas; expected tabs",
    ),
    "blanks": (each(lambda line: line.replace(b"\t", b" ")), r"40 fields separated by spaces"),
    "semicolons": (each(lambda line: b"7;" + line.replace(b"\t", b";")), r"41 fields separated by semicolons"),
    "header": (HEADER + b"\n" + TEXT, r"Line 1 looks like a header: delete it"),
    "no label": (each(lambda line: line[2:]), r"no label, like those of Kaggle's test file\. .* `predict --raw`"),
    "empty labels": (each(lambda line: line[1:]), r"labels are empty\. .* `predict --raw`"),
    "id first": (each(lambda line: b"10000\t" + line), r"begin with an extra column, perhaps an id: .* \(cut -f2-\)"),
    "one behind": (each(lambda line: line + b"\t2014-10-21"), r"end with an extra column: remove it"),
    "label last": (each(lambda line: line[2:] + b"\t" + line[:1]), r"Its label is the last column"),
    "quotes": (each(lambda line: b'"' + line.replace(b"\t", b'"\t"') + b'"'), r"fields are quoted: remove the quotes"),
    "decimals": (each(lambda line: line.replace(b"\t", b"\t1.0", 1)), r"All of its first 50 lines have the same error"),
    "JSON": (b'{"label": 1}\n' * 50, r"looks like JSON"),
    "web page": (b"<!DOCTYPE html>\n<p>404</p>\n" * 20, r"looks like a web page or XML: download the log again"),
    "UTF-16": (TEXT.decode().encode("utf-16"), r"looks like UTF-16 text"),
    "byte order mark": (b"\xef\xbb\xbf" + TEXT, r"looks like text with a byte order mark"),
    "CR": (TEXT.replace(b"\n", b"\r"), r"end with CR only"),
    "gzip": (gzip.compress(TEXT), r"looks like a gzip file: name it \.gz"),
    "bzip2": (bz2.compress(TEXT), r"looks like a bzip2 file"),
    "xz": (lzma.compress(TEXT), r"looks like an xz file"),
    "zstd": (b"\x28\xb5\x2f\xfd" + TEXT, r"looks like a zstd file"),
    "parquet": (b"PAR1" + TEXT, r"looks like a Parquet file: let its name end in \.parquet"),
    "arrow": (b"ARROW1\0\0" + TEXT, r"looks like an Arrow file: let its name end in \.arrow"),
    "records": (np.arange(4000, dtype="<i4").tobytes(), r"looks like binary data"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_log_of_another_format_is_recognised(tmp_path: Path, shape: str) -> None:
    text, message = SHAPES[shape]
    for name in ("day_0", "day_1"):
        (tmp_path / name).write_bytes(text)
    with pytest.raises(DataFormatError, match=message) as stopped:
        preprocess(tmp_path / "day", tmp_path / "out")
    assert "skip:" not in str(stopped.value), "it would leave out every line"
    with pytest.raises(DataFormatError, match=message):
        preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(bad_rows=0.001))
    with pytest.raises(DataFormatError, match=message):
        (tmp_path / "log").write_bytes(text)
        preprocess(tmp_path / "log", tmp_path / "out", PreprocessOptions(layout="kaggle", days=2))
    if shape not in ("no label", "empty labels", "label last"):  # A log without labels can be scored, and its last
        with pytest.raises(DataFormatError, match=message):  # column cannot be told from a label at the wrong end.
            list(iter_raw_records(tmp_path / "log", 0, labelled=False))


def test_a_zip_archive_is_recognised(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.txt", "w") as archive:
        archive.writestr("train.txt", TEXT)
    with pytest.raises(DataFormatError, match="looks like a zip archive"):
        preprocess(tmp_path / "train.txt", tmp_path / "out", PreprocessOptions(layout="kaggle", days=2))


@pytest.mark.parametrize("bad", [b"x", b"2" + GOOD[1:], GOOD + b"\t1"])
def test_a_few_bad_lines_may_be_left_out(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "log").write_bytes(b"\n".join([bad, *LINES]))
    with pytest.raises(DataFormatError, match=r"log:1: .*leave such lines out: --bad_rows skip:0\.001 allows"):
        preprocess(tmp_path / "log", tmp_path / "out", PreprocessOptions(layout="kaggle", days=2))


def test_a_plain_log_that_is_called_gz_is_recognised(tmp_path: Path) -> None:
    for name in ("day_0.gz", "day_1.gz"):
        (tmp_path / name).write_bytes(TEXT)
    with pytest.raises(DataFormatError, match=r"day_0\.gz: .* It is not a gzip file: rename it without \.gz"):
        preprocess(tmp_path / "day", tmp_path / "out")


@pytest.mark.parametrize(
    "names",
    [["day_²"], ["day_0.csv"], ["day_0.tsv", "day_1.tsv"], ["day0", "day1"], ["Day_0"], ["day_0.gz.zst"], ["day_٣"]],
)
def test_files_that_may_be_meant_are_named(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(TEXT)
    message = rf"no day files were found; .* There is {', '.join(names)}: day files must be named day_0, or day_0\.gz"
    with pytest.raises(DataFormatError, match=message):
        preprocess(tmp_path / "day", tmp_path / "out")


def test_files_that_may_be_meant_are_named_beside_a_missing_day(tmp_path: Path) -> None:
    for name in ("day_0", "day_1.csv", "day_2"):
        (tmp_path / name).write_bytes(TEXT)
    with pytest.raises(DataFormatError, match=r"day_1: is missing, .* There is day_1\.csv: "):
        day_files(tmp_path / "day", None)


def test_one_file_is_no_prefix_of_days(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(TEXT)
    with pytest.raises(DataFormatError, match=r"train\.txt is a single file, which --layout kaggle cuts into days"):
        preprocess(tmp_path / "train.txt", tmp_path / "out")
    (tmp_path / "day_0").write_bytes(TEXT)
    with pytest.raises(DataFormatError, match=r"Give the common beginning of their names: .*/day\."):
        preprocess(tmp_path / "day_0", tmp_path / "out")
    with pytest.raises(DataFormatError, match=r"nowhere: no such folder"):
        preprocess(tmp_path / "nowhere" / "day", tmp_path / "out")


def test_a_day_whose_lines_were_all_left_out_is_not_called_empty(tmp_path: Path) -> None:
    for name in ("day_0", "day_1"):
        (tmp_path / name).write_bytes(b"1,2,3\n" * 30)
    with pytest.raises(DataFormatError, match=r"day_0: has 30 lines, but no valid rows\. All of its first 30"):
        preprocess(tmp_path / "day", tmp_path / "out", PreprocessOptions(bad_rows=0.99))
