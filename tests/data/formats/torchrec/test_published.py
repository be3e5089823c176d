"""`inspect` describes days, and names the first file that differs from the published ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.formats.torchrec import published
from dlrm_pl.data.formats.torchrec.dataset import DaysDataset
from dlrm_pl.data.formats.torchrec.folder import DaysFolder
from dlrm_pl.data.formats.torchrec.published import PublishedDays, total_bytes
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.inspection import inspect_path
from tests.support.commands import expect_error, run
from tests.support.logs.days import BAGS, ROWS, SIZES, write_days


def as_published(folder: Path) -> PublishedDays:
    """Treat the files of a folder as the published ones."""
    md5: dict[str, list[str]] = {}
    for day in range(len(ROWS)):
        for path in sorted(folder.glob(f"day_{day}_*")):
            sum_ = hashlib.md5(path.read_bytes()).hexdigest()
            md5.setdefault(path.name.removeprefix(f"day_{day}_"), []).append(sum_)
    return PublishedDays("these", ROWS, {name: tuple(sums) for name, sums in md5.items()})


def test_list_is_complete() -> None:
    """Train has as many rows as TorchRec's loader states, and day 23 twice as many as MLPerf's half."""
    days = PublishedDays.mlperf()
    assert len(days.rows_by_day) == 24
    assert sum(days.rows_by_day[:-1]) == 4_195_197_692
    assert (days.rows_by_day[-1] + 1) // 2 == 89_137_319
    assert {name: len(sums) for name, sums in days.md5.items()} == dict.fromkeys(
        ("dense.npy", "labels.npy", "sparse.npy", "sparse_multi_hot.npz"), 24
    )
    sums = [one for sums in days.md5.values() for one in sums]
    assert len(set(sums)) == 96
    assert {len(one) for one in sums} == {32}
    # The first and last of each, as in the lists of torchrec_dlrm.
    assert days.md5["sparse_multi_hot.npz"][0] == "9287c283b01087427df915257300bf36"
    assert days.md5["sparse.npy"][23] == "0c33f1562529cc3bca7f3708e2be63c9"


@pytest.mark.parametrize("bags", [None, BAGS])
def test_same_files_pass_and_the_first_other_one_is_named(tmp_path: Path, bags: tuple[int, ...] | None) -> None:
    write_days(tmp_path, bags=bags)
    days, read = DaysFolder.open(tmp_path), []
    listed = as_published(tmp_path)
    assert listed.check(days, read.append) == "all 9 files against the published MD5 sums"
    assert sum(read) == total_bytes(days) == sum(path.stat().st_size for path in tmp_path.iterdir())
    for name in ("day_2_dense.npy", "day_1_labels.npy"):
        data = bytearray((tmp_path / name).read_bytes())
        data[-1] ^= 1
        (tmp_path / name).write_bytes(data)
    with pytest.raises(
        DataFormatError, match=r"day_1_labels.npy: differs from the published file: its MD5 is [0-9a-f]"
    ):
        listed.check(DaysFolder.open(tmp_path), read.append)


def test_days_of_other_rows_have_no_published_checksums(tmp_path: Path) -> None:
    write_days(tmp_path)
    days = DaysFolder.open(tmp_path)
    listed = replace(as_published(tmp_path), rows_by_day=(30, 40, 27))
    with pytest.raises(ConfigurationError, match="day 1 has 41 rows, but 40 in the published data"):
        listed.check(days, lambda size: None)
    with pytest.raises(ConfigurationError, match="it has 3 days, but the published data has 24"):
        PublishedDays.mlperf().check(days, lambda size: None)


def test_command_compares_when_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(tmp_path / "days")
    expect_error(capsys, "it has 3 days, but the published data has 24", "inspect", tmp_path / "days", "--checksums")
    listed = as_published(tmp_path / "days")
    monkeypatch.setattr(published.PublishedDays, "mlperf", classmethod(lambda cls: listed))
    assert run("inspect", tmp_path / "days") == 0
    text = capsys.readouterr().out
    assert "rows as in MLPerf's data; --checksums compares all files" in text
    assert "against the published" not in text
    assert run("inspect", tmp_path / "days", "--checksums") == 0
    assert "all 9 files against the published MD5 sums" in capsys.readouterr().out


def test_command_describes_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_days(tmp_path / "days")
    DaysDataset.of_days(tmp_path / "days", StatedTables(SIZES, BAGS, "pareto", draws=True))
    assert run("inspect", tmp_path / "days", "--full", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows_by_day"] == list(ROWS)
    assert found["splits"] == {"train": {"rows": 71}, "val": {"rows": 14}, "test": {"rows": 13}}
    assert (found["num_dense"], found["bags"], found["has_bags"], found["table_sizes"]) == (3, [1] * 4, False, None)
    assert found["lookup_tables"]["distribution"] == "pareto"
    assert "all values of the train rows" in found["checked"]
    assert run("inspect", tmp_path / "days") == 0
    text = capsys.readouterr().out
    assert "rows by day    30 41 27" in text
    assert "tables         rows not stated: data.table_sizes" in text
    assert "lookup tables  pareto, bags of 3 1 2 20 over 4, 71 rows: 7 50 3 11" in text
    write_days(tmp_path / "bags", bags=BAGS)
    assert "4 tables, bags of 3 1 2 20, 26 ids in a row" in str(inspect_path(tmp_path / "bags"))


def test_full_finds_a_wrong_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_days(tmp_path)
    values = np.load(tmp_path / "day_1_labels.npy")
    values[3] = 7
    np.save(tmp_path / "day_1_labels.npy", values)
    expect_error(capsys, r"day_1_labels.npy: row 3: the label is 7", "inspect", tmp_path, "--full")


def test_other_things_have_no_published_checksums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expect_error(capsys, "--checksums is for days in TorchRec's format", "inspect", tmp_path, "--checksums")
