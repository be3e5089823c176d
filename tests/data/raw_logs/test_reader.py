"""Lines that no click log contains, and logs without labels."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.preprocessing.logs.days import Day, text_bytes
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.raw_logs.line import longest_line
from dlrm_pl.data.raw_logs.reader import iter_raw_records
from dlrm_pl.errors import DataFormatError
from tests.support.logs.raw_logs import GOOD, random_lines, use_engine, write_days

Reader = Callable[[Path], object]
READERS = ["native", "numpy", "predict"]


@pytest.fixture(params=READERS)
def read(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Read a log by preprocessing it with one of the engines, or for a prediction."""
    if request.param == "predict":
        return lambda path: [len(chunk) for chunk in iter_raw_records(path, 0, labelled=False)]
    use_engine(request.param, monkeypatch)
    options, runs = PreprocessOptions(layout="kaggle", days=2, memory_bytes=16 << 20), itertools.count()
    return lambda path: preprocess(path, tmp_path / f"out{next(runs)}", options)


def log_with(tmp_path: Path, line: bytes, *, compress: bool = False) -> Path:
    """Return a log whose third line is given."""
    text = b"\n".join([GOOD, GOOD, line, GOOD, GOOD]) + b"\n"
    path = tmp_path / ("log.gz" if compress else "log")
    path.write_bytes(gzip.compress(text) if compress else text)
    return path


def with_first_integer(field: bytes) -> bytes:
    return GOOD.replace(b"\t5", b"\t" + field, 1)


@pytest.mark.parametrize("digits", [11, 20, 4301, 30_000])
@pytest.mark.parametrize("sign", [b"", b"-"])
def test_a_number_of_any_length_is_a_bad_field(read: Reader, tmp_path: Path, digits: int, sign: bytes) -> None:
    field = sign + b"7" * digits
    shown = f"'{field[:40].decode()}'" + (rf"\.\.\. \({len(field):,} bytes\)" if len(field) > 40 else "")
    with pytest.raises(DataFormatError, match=rf"log:3: field 2 \(I1\) is {shown}, which does not fit in 32 bits"):
        read(log_with(tmp_path, with_first_integer(field)))


@pytest.mark.parametrize("field", [b"0" * 30_000 + b"12", b"-" + b"0" * 5000 + b"2147483648", b"0" * 4301])
def test_leading_zeros_are_no_fault(read: Reader, tmp_path: Path, field: bytes) -> None:
    read(log_with(tmp_path, with_first_integer(field)))


@pytest.mark.parametrize(("compress", "newline"), [(False, b""), (False, b"\r"), (True, b"")])
def test_the_longest_line_is_read_and_a_longer_one_is_named(
    read: Reader, tmp_path: Path, compress: bool, newline: bytes
) -> None:
    zeros = longest_line(40) - len(GOOD)
    read(log_with(tmp_path, with_first_integer(b"0" * zeros + b"5") + newline, compress=compress))
    with pytest.raises(
        DataFormatError, match=r"log(\.gz)?:3: is longer than 32,000 bytes, .* it begins with '1\\t0000"
    ):
        read(log_with(tmp_path, with_first_integer(b"0" * zeros + b"05") + newline, compress=compress))


@pytest.mark.each_value
@pytest.mark.parametrize("compress", [False, True])
def test_a_line_without_end_is_refused_in_bounded_memory(read: Reader, tmp_path: Path, compress: bool) -> None:
    path = log_with(tmp_path, b"", compress=compress)
    beginning = 4 * (GOOD + b"\n")
    if compress:
        path.write_bytes(gzip.compress(beginning + bytes(40_000_000), 1))
    else:
        with path.open("wb") as handle:  # Sparse: 100 MB that take no disk space.
            handle.write(beginning)
            handle.truncate(100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataFormatError, match=r"log(\.gz)?:5: is longer than"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_a_long_line_stops_a_run_whatever_share_may_be_left_out(tmp_path: Path) -> None:
    raw = write_days(tmp_path, [[GOOD, b"x" * 32_001], [GOOD, GOOD]])
    for memory in (16 << 20, 2 << 30):
        with pytest.raises(DataFormatError, match=r"day_0:2: is longer than 32,000 bytes"):
            preprocess(raw, tmp_path / "out", PreprocessOptions(bad_rows=1.0, memory_bytes=memory))


def unlabelled(lines: list[bytes]) -> bytes:
    return b"\n".join(line.split(b"\t", 1)[1] for line in lines) + b"\n"


def test_rows_without_a_label_are_those_with_an_empty_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lines = [b"0" + line[1:] for line in random_lines(100, 0)]
    (tmp_path / "without").write_bytes(unlabelled(lines))
    (tmp_path / "with").write_bytes(b"\n".join(line[1:] for line in lines))
    without, with_label = (
        np.concatenate(list(iter_raw_records(tmp_path / name, 7, 64, labelled=False))) for name in ("without", "with")
    )
    assert without.tolist() == with_label.tolist()
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'without'}: line 1 has 39 fields, so the log has no labels"
    ]


@pytest.mark.parametrize(
    ("first", "third", "message"),
    [
        (GOOD[2:], GOOD, "log:3: has 40 fields; expected 39, as line 1 has no label"),
        (GOOD, GOOD[2:], "log:3: has 39 fields; expected 40"),
        (GOOD[2:], GOOD[2:].replace(b"5", b"x", 1), r"log:3: field 1 \(I1\) is 'x'; expected an integer"),
        (GOOD[2:], GOOD[2:].replace(b"0a1b2c3d", b"g", 1), r"log:3: field 14 \(C1\) is 'g'"),
        (GOOD[1:], GOOD[1:].replace(b"0a1b2c3d", b"g", 1), r"log:3: field 15 \(C1\) is 'g'"),
        (GOOD[1:], b"2" + GOOD[1:], r"log:3: field 1 \(label\) is '2'"),
    ],
)
def test_a_log_is_with_labels_or_without(tmp_path: Path, first: bytes, third: bytes, message: str) -> None:
    (tmp_path / "log").write_bytes(b"\n".join([first, first, third, first]))
    with pytest.raises(DataFormatError, match=message):
        list(iter_raw_records(tmp_path / "log", 0, labelled=False))


def test_the_text_of_a_gz_is_estimated_over_all_its_parts(tmp_path: Path) -> None:
    lines = b"\n".join(random_lines(500, 0)) + b"\n"
    for parts in (1, 5):
        path = tmp_path / f"{parts}.gz"
        path.write_bytes(b"".join(gzip.compress(lines) for _ in range(parts)) + bytes(20))
        assert text_bytes(Day(path)) == pytest.approx(parts * len(lines), rel=0.01)


def test_a_gz_that_is_damaged_at_its_beginning_is_named(tmp_path: Path) -> None:
    raw = write_days(tmp_path, [random_lines(50, 0), random_lines(50, 1)], compress=True)
    path = tmp_path / "day_1.gz"
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)
    with pytest.raises(DataFormatError, match=r"day_1\.gz: is truncated or corrupt after line \d+ "):
        preprocess(raw, tmp_path / "out")
