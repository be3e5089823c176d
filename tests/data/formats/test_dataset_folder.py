"""Binary files, vocabulary and the folder that holds them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl import inspection
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, count_records, open_records, split_file_name
from dlrm_pl.data.formats.block_digests import digests_path
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.finished_dataset import describe, recognize_dataset
from dlrm_pl.data.formats.vocabulary import COUNTS_NAME, DictionaryChecksums, Vocabulary, dictionary_name
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import DataFormatError, DatasetError
from tests.support.logs.raw_values import COLUMNS, TABLES, write_folder


@settings(deadline=None)
@given(rows=st.integers(1, 20), seed=st.integers(0, 99))
def test_records_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    records = np.random.default_rng(seed).integers(-(2**31), 2**31, (rows, 40)).astype("<i4")
    records.tofile(path)
    assert count_records(path) == rows
    assert path.stat().st_size == rows * Columns.criteo().record_bytes
    np.testing.assert_array_equal(open_records(path), records)


@pytest.mark.parametrize(("size", "message"), [(0, "is empty"), (161, r"161 bytes .*\(1 records and 1 bytes\)")])
def test_file_of_another_size_is_rejected(tmp_path: Path, size: int, message: str) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(size))
    with pytest.raises(DataFormatError, match=message):
        count_records(tmp_path / "x.bin")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"x\.bin: is missing"):
        open_records(tmp_path / "x.bin")


def test_unseen_values_get_the_row_of_missing_and_are_counted() -> None:
    vocabulary = Vocabulary([np.array([7, 0, 9]), np.array([5, 6])])
    ids, unseen = vocabulary.encode(np.array([[9, 6], [8, 4]]))
    assert ids.tolist() == [[2, 1], [1, 0]]  # Table 1 never saw a missing value: row 0.
    assert unseen == 2


def test_modulus_is_stated_only_where_values_are_taken_modulo_it(tmp_path: Path) -> None:
    with_hex = write_folder(tmp_path / "hex")
    columns = replace(COLUMNS, sparse=COLUMNS.sparse[:-1])
    without = write_folder(tmp_path / "plain", columns, TABLES[:-1])
    stated = [json.loads((folder.path / "dataset.json").read_text()) for folder in (with_hex, without)]
    described = [inspection.inspect_path(folder.path) for folder in (with_hex, without)]
    assert ["max_ind_range" in each for each in stated] == [True, False]
    assert ["max_ind_range" in each.data for each in described] == [True, False]
    assert ["max_ind_range" in str(each) for each in described] == [True, False]


def test_vocabulary_survives_the_round_trip_beyond_31_bits(tmp_path: Path) -> None:
    values = [np.array([0, 2**32 - 1, 5])] + [np.array([table]) for table in range(25)]
    Vocabulary(values).save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert loaded.sizes == (3,) + (1,) * 25
    assert loaded.values[0].tolist() == [0, 2**32 - 1, 5]
    assert np.load(tmp_path / dictionary_name(1))["unique"].dtype == np.int32  # As upstream tools expect.
    assert np.load(tmp_path / COUNTS_NAME)["counts"].tolist() == list(loaded.sizes)


def test_fingerprint_tells_vocabularies_of_the_same_sizes_apart(tmp_path: Path) -> None:
    marks = set()
    for value in (1, 2):
        Vocabulary([np.array([value])] * 26).save(tmp_path)
        marks.add(DictionaryChecksums.of_folder((1,) * 26, tmp_path).fingerprint)
        marks.add(DictionaryChecksums.of_folder((1,) * 26, tmp_path).fingerprint)
    assert len(marks) == 2


def test_dictionary_of_another_size_is_named(dataset_copy: Path) -> None:
    np.savez(dataset_copy / dictionary_name(4), unique=np.arange(3))
    with pytest.raises(DataFormatError, match=r"table 4 has 3 values here and \d+ rows"):
        Vocabulary.load(dataset_copy)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY"])
def test_damaged_dictionary_is_named(dataset_copy: Path, content: bytes) -> None:
    (dataset_copy / dictionary_name(0)).write_bytes(content)
    with pytest.raises(DataFormatError, match=r"day_fea_dict_0\.npz: cannot be read"):
        Vocabulary.load(dataset_copy)


def test_missing_dictionary_is_named(dataset_copy: Path) -> None:
    (dataset_copy / dictionary_name(25)).unlink()
    with pytest.raises(DataFormatError, match=r"day_fea_dict_25\.npz: is missing"):
        Vocabulary.load(dataset_copy)


def test_counts_of_another_number_of_tables_are_rejected(dataset_copy: Path) -> None:
    np.savez(dataset_copy / COUNTS_NAME, counts=np.array([3, 4]))
    with pytest.raises(DataFormatError, match=r"counts are \[3, 4\]; expected 26 positive numbers"):
        DatasetFolder.open(dataset_copy)


def test_description_tells_what_the_files_hold(synthetic_folder: Path) -> None:
    folder = DatasetFolder.open(synthetic_folder)
    for split, info in folder.splits.items():
        records = open_records(synthetic_folder / split_file_name(split))
        assert info.records == len(records)
        assert info.positives == int(records[:, 0].sum())
    folder.verify_checksums()
    assert folder.max_ind_range == 40_000_000
    assert set(folder.best_possible_auroc) == {"train", "val", "test"}


def test_plain_mlperf_folder_opens_without_a_description(dataset_copy: Path) -> None:
    described = DatasetFolder.open(dataset_copy)
    (dataset_copy / "dataset.json").unlink()
    plain = DatasetFolder.open(dataset_copy)
    assert plain.table_sizes == described.table_sizes
    assert plain.fingerprint == described.fingerprint
    assert plain.splits["val"].positives == described.splits["val"].positives
    assert plain.best_possible_auroc == {}
    assert not recognize_dataset(dataset_copy)


def test_counts_that_the_description_denies_are_named(dataset_copy: Path) -> None:
    counts = np.load(dataset_copy / COUNTS_NAME)["counts"]
    counts[3] += 1
    np.savez(dataset_copy / COUNTS_NAME, counts=counts)
    with pytest.raises(DataFormatError, match=rf"table 3 has {counts[3]} rows, dataset\.json says {counts[3] - 1}"):
        DatasetFolder.open(dataset_copy)


def damage(path: Path, place: int) -> None:
    """Flip one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_changed_file_fails_its_checksum(dataset_copy: Path) -> None:
    path = dataset_copy / split_file_name("test")
    damage(path, 200)
    with pytest.raises(DataFormatError, match=r"test\.bin: rows 0 to 1,999 do not match their checksum"):
        DatasetFolder.open(dataset_copy).verify_checksums()
    digests_path(path).unlink()  # As in folders of earlier versions, only the whole file's checksum is known.
    with pytest.raises(DataFormatError, match=r"test\.bin: was changed after it was written"):
        DatasetFolder.open(dataset_copy).verify_checksums()


def exchange_two_values(folder: Path, table: int) -> None:
    """Write a dictionary of the same size and values in another order."""
    values = np.load(folder / dictionary_name(table))["unique"]
    values[[0, 1]] = values[[1, 0]]
    np.savez(folder / dictionary_name(table), unique=values)


def test_exchanged_dictionary_is_named_when_it_is_used(dataset_copy: Path) -> None:
    exchange_two_values(dataset_copy, 7)
    folder = DatasetFolder.open(dataset_copy)
    for use in (folder.vocabulary, folder.check_dictionaries, folder.verify_checksums):
        with pytest.raises(DataFormatError, match=r"day_fea_dict_7\.npz changed after the dataset was written"):
            use()
    data = DLRMDataModule(str(dataset_copy), predict_raw=str(dataset_copy / "log"))
    with pytest.raises(DataFormatError, match=r"day_fea_dict_7\.npz changed"):
        data.predict_dataloader()


@pytest.mark.parametrize("change", ["fingerprint", "no list of dictionaries", "two dictionaries"])
def test_stated_fingerprint_is_checked(dataset_copy: Path, change: str) -> None:
    path = dataset_copy / "dataset.json"
    contents = json.loads(path.read_text())
    if change == "fingerprint":
        contents["fingerprint"], named = "0" * 16, "its dictionaries, day_fea_count.npz or dataset.json"
    elif change == "no list of dictionaries":  # As in folders of earlier versions.
        del contents["dictionaries"]
        exchange_two_values(dataset_copy, 3)
        named = "its dictionaries, day_fea_count.npz or dataset.json"
    else:
        contents["dictionaries"][2] = contents["dictionaries"][5] = "0" * 16
        named = "day_fea_dict_2.npz, day_fea_dict_5.npz"
    path.write_text(json.dumps(contents))
    with pytest.raises(DataFormatError, match=re.escape(f"{dataset_copy}: {named} changed after")):
        DatasetFolder.open(dataset_copy).vocabulary()


def test_some_blocks_are_checked_when_a_dataset_is_opened(dataset_copy: Path) -> None:
    assert DatasetFolder.open(dataset_copy).check_samples() == (
        "sizes, and 3 of 3 blocks of rows by their checksums; not the dictionaries"
    )
    damage(dataset_copy / split_file_name("val"), 200)
    with pytest.raises(DataFormatError, match=r"val\.bin: rows 0 to 1,999 do not match"):
        DLRMDataModule(str(dataset_copy))


def test_inspect_checks_all_files_when_asked_and_says_so_when_not(dataset_copy: Path) -> None:
    assert " ".join(inspection.describe(dataset_copy).splitlines()[-1].split()) == (
        "checked sizes, and 3 of 3 blocks of rows by their checksums; not the dictionaries; `--full` checks every byte"
    )
    assert " ".join(inspection.describe(dataset_copy, full=True).splitlines()[-1].split()) == (
        "checked all train rows by their checksum, all val rows by their checksum, all test rows by their checksum, "
        "the dictionaries by the fingerprint"
    )
    exchange_two_values(dataset_copy, 25)
    inspection.describe(dataset_copy)
    with pytest.raises(DataFormatError, match=r"day_fea_dict_25\.npz changed"):
        inspection.describe(dataset_copy, full=True)


def test_damaged_digests_are_named(dataset_copy: Path) -> None:
    damage(digests_path(dataset_copy / split_file_name("test")), 5)
    with pytest.raises(DataFormatError, match=r"test\.blocks: does not match .*test\.bin"):
        DatasetFolder.open(dataset_copy).check_samples()


def test_what_cannot_be_checked_is_said(dataset_copy: Path) -> None:
    for split in SPLITS:
        digests_path(dataset_copy / split_file_name(split)).unlink()
    assert DatasetFolder.open(dataset_copy).check_samples() == ("only sizes, since the folder has no digests of blocks")
    (dataset_copy / "dataset.json").unlink()
    folder = DatasetFolder.open(dataset_copy)
    assert folder.check_samples() == ("only sizes, since there is no dataset.json with checksums")
    assert folder.verify_checksums().startswith("the train rows have no checksum to compare with, the val rows have no")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read as JSON"), ('{"format": 9}', "format 9"), ("[]", "format None")]
)
def test_description_that_is_none_is_rejected(dataset_copy: Path, text: str, message: str) -> None:
    (dataset_copy / "dataset.json").write_text(text)
    with pytest.raises(DataFormatError, match=message):
        DatasetFolder.open(dataset_copy)


def test_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Make one with `preprocess` or `synthesize`"):
        DatasetFolder.open(tmp_path / "nowhere")


def test_describing_twice_gives_the_same_text(dataset_copy: Path) -> None:
    describe(dataset_copy, max_ind_range=7, created_by="test")
    first = (dataset_copy / "dataset.json").read_text()
    describe(dataset_copy, max_ind_range=7, created_by="test")
    assert (dataset_copy / "dataset.json").read_text() == first
    assert json.loads(first)["max_ind_range"] == 7
