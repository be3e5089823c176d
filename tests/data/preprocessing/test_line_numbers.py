"""A bad line is named by its line number in the file, as in an editor, wherever preprocessing cuts the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import DataFormatError
from tests.support.logs.raw_logs import GOOD, random_lines, use_engine

KAGGLE = PreprocessOptions(layout="kaggle", days=3)


@pytest.fixture(params=["native", "numpy"])
def either_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engine(request.param, monkeypatch)


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def with_line(number: int, line: bytes, rows: int = 60) -> list[bytes]:
    lines = random_lines(rows, 0)
    lines[number - 1] = line
    return lines


@pytest.mark.usefixtures("either_engine")
@pytest.mark.parametrize("number", [1, 20, 21, 31, 60])
def test_a_bad_line_of_a_cut_file_is_named_by_its_number_in_the_file(tmp_path: Path, number: int) -> None:
    log = written(tmp_path / "label2.txt", with_line(number, b"2" + GOOD[1:]))
    with pytest.raises(DataFormatError, match=rf"label2\.txt:{number}: field 1 \(label\) is '2'"):
        preprocess(log, tmp_path / "out", KAGGLE)


@pytest.mark.usefixtures("either_engine")
@pytest.mark.parametrize("number", [20, 31, 40])
def test_a_blank_line_is_an_error_at_the_end_of_a_cut_day_as_elsewhere(tmp_path: Path, number: int) -> None:
    log = written(tmp_path / "log", with_line(number, b""))
    with pytest.raises(DataFormatError, match=rf"log:{number}: is blank, although more rows follow"):
        preprocess(log, tmp_path / "out", KAGGLE)


@pytest.mark.usefixtures("either_engine")
def test_rejected_lines_of_a_cut_file_are_noted_by_their_numbers_in_the_file(tmp_path: Path) -> None:
    lines = with_line(31, b"2" + GOOD[1:])
    lines[39], lines[59] = b"", b"x"
    log = written(tmp_path / "log", lines)
    preprocess(log, tmp_path / "out", PreprocessOptions(layout="kaggle", days=3, bad_rows=0.1))
    noted = [line.split(b"\t")[1:3] for line in (tmp_path / "out" / "rejected.tsv").read_bytes().splitlines()]
    assert noted == [[b"31", b"label"], [b"40", b"blank"], [b"60", b"fields"]]


def test_too_many_bad_lines_name_the_first_by_their_numbers_in_the_file(tmp_path: Path) -> None:
    log = written(tmp_path / "log", with_line(31, b"2" + GOOD[1:]))
    with pytest.raises(DataFormatError, match=r"The first are .*log:31 \(label\)\."):
        preprocess(log, tmp_path / "out", PreprocessOptions(layout="kaggle", days=3, bad_rows=0.001))


def test_a_cut_day_without_rows_is_named_by_its_lines(tmp_path: Path) -> None:
    lines = [GOOD] * 20 + [b"x"] * 20 + [GOOD] * 20
    log = written(tmp_path / "log", lines)
    with pytest.raises(DataFormatError, match="log: day 1, to line 40, has no rows"):
        preprocess(log, tmp_path / "out", PreprocessOptions(layout="kaggle", days=3, bad_rows=1.0))


def test_a_run_that_goes_on_in_a_cut_file_counts_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(tmp_path / "log", with_line(2900, b"2" + GOOD[1:], rows=3000))
    options = PreprocessOptions(
        layout="kaggle", days=3, bad_rows=0.1, memory_bytes=16 << 20, workers=16, checkpoint_bytes=400_000
    )
    real = CheckpointFolder.commit

    def commit(self: CheckpointFolder, state: object) -> None:
        real(self, state)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointFolder, "commit", commit)
        preprocess(log, tmp_path / "out", options)
    state = CheckpointFolder(tmp_path / "out").load()
    assert state is not None
    assert state.day > 0
    preprocess(log, tmp_path / "out", options)
    assert (tmp_path / "out" / "rejected.tsv").read_bytes().split(b"\t")[1:3] == [b"2900", b"label"]
