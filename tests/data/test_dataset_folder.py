"""Binary files, vocabulary and the folder that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.binary_format import RECORD_BYTES, count_records, open_records, split_file_name
from dlrm_pl.data.dataset_folder import DatasetFolder, describe, is_dataset_folder
from dlrm_pl.data.vocabulary import COUNTS_NAME, Vocabulary, dictionary_name, fingerprint
from dlrm_pl.errors import DataFormatError, DatasetError


@settings(deadline=None)
@given(rows=st.integers(1, 20), seed=st.integers(0, 99))
def test_records_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    records = np.random.default_rng(seed).integers(-(2**31), 2**31, (rows, 40)).astype("<i4")
    records.tofile(path)
    assert count_records(path) == rows
    assert path.stat().st_size == rows * RECORD_BYTES
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
    assert ids.tolist() == [[2, 1], [1, 0]]  # table 1 never saw a missing value: row 0
    assert unseen == 2


def test_vocabulary_survives_the_round_trip_beyond_31_bits(tmp_path: Path) -> None:
    values = [np.array([0, 2**32 - 1, 5])] + [np.array([table]) for table in range(25)]
    Vocabulary(values).save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert loaded.sizes == (3,) + (1,) * 25
    assert loaded.values[0].tolist() == [0, 2**32 - 1, 5]
    assert np.load(tmp_path / dictionary_name(1))["unique"].dtype == np.int32  # as upstream tools expect
    assert np.load(tmp_path / COUNTS_NAME)["counts"].tolist() == list(loaded.sizes)


def test_fingerprint_tells_vocabularies_of_the_same_sizes_apart(tmp_path: Path) -> None:
    marks = set()
    for value in (1, 2):
        Vocabulary([np.array([value])] * 26).save(tmp_path)
        marks.add(fingerprint((1,) * 26, tmp_path))
        marks.add(fingerprint((1,) * 26, tmp_path))
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
    with pytest.raises(DataFormatError, match=r"counts are \[3, 4\], 26 positive numbers"):
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
    assert not is_dataset_folder(dataset_copy)


def test_counts_that_the_description_denies_are_named(dataset_copy: Path) -> None:
    counts = np.load(dataset_copy / COUNTS_NAME)["counts"]
    counts[3] += 1
    np.savez(dataset_copy / COUNTS_NAME, counts=counts)
    with pytest.raises(DataFormatError, match=rf"table 3 has {counts[3]} rows, dataset\.json says {counts[3] - 1}"):
        DatasetFolder.open(dataset_copy)


def test_changed_file_fails_its_checksum(dataset_copy: Path) -> None:
    path = dataset_copy / split_file_name("test")
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=r"test\.bin: was changed"):
        DatasetFolder.open(dataset_copy).verify_checksums()


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
