"""A dataset folder states its columns, by which its files are read and checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats import row_identity
from dlrm_pl.data.formats.block_checksum import block_bytes, file_checksum
from dlrm_pl.data.formats.block_digests import BlockDigests, digests_path
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe, recognize_dataset
from dlrm_pl.data.formats.row_identity import identity_of_rows
from dlrm_pl.errors import DataFormatError
from tests.support.logs.any_columns import MIXED, random_records, sizes_of, write_dataset


def with_list(length: int) -> Columns:
    return Columns("y", (DenseColumn(name="d"),), (SparseColumn(name="s", at_most=length),))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_folder_states_its_columns_and_is_read_by_them(tmp_path: Path) -> None:
    written = write_dataset(tmp_path, MIXED)
    folder = DatasetFolder.open(tmp_path)
    assert folder.columns == written.columns == MIXED
    assert (folder.splits["val"].records, folder.table_sizes) == (300, tuple(sizes_of(MIXED)))
    assert folder.splits["val"].positives == random_records(MIXED, 300, seed=1)[:, 0].sum()
    assert folder.vocabulary().sparse == MIXED.sparse
    assert "all val rows by their checksum" in folder.verify_checksums()
    assert sorted(path.name for path in tmp_path.glob("*dict*")) == [f"day_fea_dict_{table}.npz" for table in (0, 1, 2)]


def test_folder_that_states_none_is_criteo(dataset_copy: Path) -> None:
    stated = json.loads((dataset_copy / "dataset.json").read_text())
    assert Columns.of_statement(stated.pop("columns"), "here").is_criteo
    before = DatasetFolder.open(dataset_copy)
    (dataset_copy / "dataset.json").write_text(json.dumps(stated))
    after = DatasetFolder.open(dataset_copy)
    assert (after.columns, after.fingerprint) == (Columns.criteo(), before.fingerprint)
    assert "dictionaries by the fingerprint" in after.verify_checksums()


def test_fingerprint_covers_what_columns_say_of_values(tmp_path: Path) -> None:
    before = write_dataset(tmp_path, MIXED).fingerprint
    other = replace(MIXED, dense=(replace(MIXED.dense[0], transform="none"), *MIXED.dense[1:]))
    assert describe(tmp_path, max_ind_range=-1, created_by="test", columns=other).fingerprint != before
    edit(tmp_path, columns=MIXED.statement())
    with pytest.raises(DataFormatError, match="ids would mean other categories"):
        DatasetFolder.open(tmp_path).check_dictionaries()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (3, r"dataset\.json: columns: 3 must be an object with fields"),
        ({"dense": [], "sparse": []}, r"columns: dense columns: there are none.*Preprocess the raw log again"),
        (
            MIXED.statement() | {"dense": [{"name": "a", "type": "x"}]},
            r"columns: dense\.0\.type: 'x' must be one of",
        ),
        (
            MIXED.statement() | {"dense": [{"name": "a", "transform": "standardize"}]},
            "columns: column a states transform=standardize without mean and deviation",
        ),
    ],
)
def test_statement_that_makes_no_sense_is_refused(tmp_path: Path, columns: Any, message: str) -> None:
    write_dataset(tmp_path, MIXED)
    edit(tmp_path, columns=columns)
    with pytest.raises(DataFormatError, match=message):
        DatasetFolder.open(tmp_path)


def test_columns_that_contradict_the_files_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, MIXED)
    edit(tmp_path, columns=Columns(MIXED.label, MIXED.dense[:4], MIXED.sparse).statement())
    with pytest.raises(DataFormatError, match="20400 bytes is not a whole number of 64-byte records"):
        DatasetFolder.open(tmp_path)
    edit(tmp_path, columns=Columns(MIXED.label, MIXED.dense, MIXED.sparse[:4]).statement())
    with pytest.raises(DataFormatError, match="expected 4 positive numbers"):
        DatasetFolder.open(tmp_path)


def test_block_has_whole_records_and_at_most_8_mib() -> None:
    assert block_bytes(Columns.criteo()) == 1_310_720
    assert block_bytes(MIXED) == 8192 * 4 * 17
    for length in (1, 254, 255, 1000, 4096):
        columns = with_list(length)
        rows, rest = divmod(block_bytes(columns), columns.record_bytes)
        assert rest == 0
        assert rows == 8192 if length <= 254 else block_bytes(columns) <= 8 << 20 < 2 * block_bytes(columns)


def test_changed_row_is_named_and_changes_the_identity_of_its_range(tmp_path: Path) -> None:
    columns = with_list(1000)
    folder = write_dataset(tmp_path, columns, rows=3000)
    path = folder.split_path("val")
    stated = folder.splits["val"].checksum
    digests = BlockDigests.load(path, stated, columns)
    assert digests is not None
    assert len(digests) == 2
    before = [identity_of_rows(path, *rows, None, columns) for rows in ((0, 100), (100, 3000))]
    random_records(columns, 3000, seed=1)[100:].tofile(tmp_path / "rest")
    assert before[1] == file_checksum(tmp_path / "rest", block_bytes(columns)).text()
    records = np.memmap(path, "<i4", "r+").reshape(-1, 1002)
    records[2500, 1] += 1
    records.flush()
    with pytest.raises(DataFormatError, match="rows 2,048 to 2,999 do not match"):
        digests.check_all()
    after = [identity_of_rows(path, *rows, None, columns) for rows in ((0, 100), (100, 3000))]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_many_rows_are_sampled_by_their_record_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_identity, "MOST_BYTES", 1000)
    folder = write_dataset(tmp_path, MIXED, rows=20_000)
    path = folder.split_path("test")
    assert identity_of_rows(path, 0, 20_000, "stated", MIXED).startswith("sample:")


def test_digests_of_other_columns_are_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, MIXED)
    path, stated = folder.split_path("val"), folder.splits["val"].checksum
    assert stated == f"sha256/{8192 * 68}:{hashlib.sha256(digests_path(path).read_bytes()).hexdigest()}"
    with pytest.raises(DataFormatError, match="does not match"):
        BlockDigests.load(path, stated)


def test_files_that_a_run_may_replace_are_those_of_its_tables(tmp_path: Path) -> None:
    write_dataset(tmp_path, MIXED)
    found = recognize_dataset(tmp_path)
    assert found is not None
    assert "day_fea_dict_4.npz" in found.names
    assert "day_fea_dict_5.npz" not in found.names
