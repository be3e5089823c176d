"""Rows are distinguished from other rows of the same number."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats import row_identity
from dlrm_pl.data.formats.binary_format import open_records, split_file_name
from dlrm_pl.data.formats.block_checksum import block_bytes, file_checksum
from dlrm_pl.data.formats.row_identity import identity_of_rows
from dlrm_pl.data.loading.datamodule import DLRMDataModule

BLOCK_BYTES = block_bytes(Columns.criteo())


def identities(folder: Path) -> dict[str, str]:
    return dict(DLRMDataModule(str(folder)).row_identities())


def change(path: Path, row: int) -> None:
    """Change one dense feature of one row, keeping the modification time."""
    before = path.stat()
    records = np.memmap(path, dtype="<i4", mode="r+").reshape(-1, 40)
    records[row, 5] += 1
    records.flush()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_one_changed_row_changes_the_identity_of_its_range_alone(dataset_copy: Path) -> None:
    before = identities(dataset_copy)
    assert before.keys() == {"calibration", "tuning"}
    (dataset_copy / "dataset.json").unlink()
    assert identities(dataset_copy) == before
    change(dataset_copy / split_file_name("val"), row=0)
    after = identities(dataset_copy)
    assert after["calibration"] != before["calibration"]
    assert after["tuning"] == before["tuning"]
    change(dataset_copy / split_file_name("val"), row=-1)
    assert identities(dataset_copy)["tuning"] != before["tuning"]


def test_identity_is_the_checksum_of_the_rows_as_a_file_of_their_own(synthetic_folder: Path, tmp_path: Path) -> None:
    path = synthetic_folder / split_file_name("val")
    open_records(path)[100:900].tofile(tmp_path / "rows")
    assert identity_of_rows(path, 100, 900, None) == file_checksum(tmp_path / "rows", BLOCK_BYTES).text()


@pytest.mark.parametrize("sampled", [0, 11_000])
def test_many_rows_are_told_apart_by_sample_size_time_and_what_is_stated(
    synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampled: int
) -> None:
    monkeypatch.setattr(row_identity, "MOST_BYTES", 1000)
    monkeypatch.setattr(row_identity, "NUM_SAMPLES", 4)
    path = Path(shutil.copy2(synthetic_folder / split_file_name("train"), tmp_path / "rows"))
    # Enough rows for three blocks, without writing a gigabyte.
    path.write_bytes((path.read_bytes() * 4)[: 3 * BLOCK_BYTES])
    found = [identity_of_rows(path, 0, 3 * 8192, "stated")]
    found.append(identity_of_rows(path, 0, 3 * 8192, "else"))
    change(path, sampled)
    found.append(identity_of_rows(path, 0, 3 * 8192, "stated"))
    os.utime(path, (1, 1))
    found.append(identity_of_rows(path, 0, 3 * 8192, "stated"))
    assert len(set(found)) == 4
