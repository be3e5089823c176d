"""Dictionaries of every kind of column: files, sizes, checksums."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.category_values import from_zero, selected, unseen_first
from dlrm_pl.data.formats.raw_rows import RawSparse
from dlrm_pl.data.formats.vocabulary import (
    COUNTS_NAME,
    DictionaryChecksums,
    Vocabulary,
    dictionary_name,
    load_counts,
)
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.errors import DataFormatError

COLUMNS = Columns(
    "click",
    (DenseColumn(name="age"),),
    (
        SparseColumn(name="code", kind="hex"),
        SparseColumn(name="shop", kind="integer"),
        SparseColumn(name="word", kind="string"),
        SparseColumn(name="user", kind="string", ids="hash", rows=50),
        SparseColumn(name="item", kind="integer", ids="modulo", rows=7),
    ),
)
VALUES: list[Any] = [[7, 0, 2**32 - 1], [-5, 2**63 - 1], Strings.of(["漢".encode(), b"", b"\xff"]), None, None]

TEXTS = st.lists(st.binary(max_size=4), max_size=8)


def bytes_of(values: Any) -> list[bytes]:
    assert isinstance(values, Strings)
    return values.to_list()


def shifted(texts: list[bytes]) -> Strings:
    """Return the texts as a slice of a longer array."""
    offsets, data = Strings.of([b"before", *texts, b"after"])
    return Strings(offsets[1:-1], data)


def test_each_kind_survives_the_round_trip(tmp_path: Path) -> None:
    Vocabulary(VALUES, COLUMNS).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [COUNTS_NAME, *map(dictionary_name, range(3))]
    loaded = Vocabulary.load(tmp_path, COLUMNS)
    assert loaded.sizes == (3, 2, 3, 50, 7) == load_counts(tmp_path, COLUMNS)
    code, shop, word, user, item = loaded.values
    assert np.asarray(code).tolist() == VALUES[0]
    assert np.asarray(shop).tolist() == VALUES[1]
    assert bytes_of(word) == ["漢".encode(), b"", b"\xff"]
    assert user is None
    assert item is None
    assert repr(loaded) == "Vocabulary(5 tables, 8 values)"
    assert np.load(tmp_path / dictionary_name(1))["unique"].dtype == np.int64


def test_checksums_are_of_the_contents_however_they_lie_in_memory(tmp_path: Path) -> None:
    Vocabulary(VALUES, COLUMNS).save(tmp_path)
    sizes = load_counts(tmp_path, COLUMNS)
    of_folder = DictionaryChecksums.of_folder(sizes, tmp_path, COLUMNS)
    moved = [*map(np.asarray, VALUES[:2]), shifted(bytes_of(VALUES[2])), None, None]
    assert of_folder == DictionaryChecksums.of_tables(sizes, moved, COLUMNS)
    assert [bool(table) for table in of_folder.tables] == [True, True, True, False, False]


def test_fingerprint_covers_the_columns_but_those_of_criteo() -> None:
    arrays = [np.array([1]), np.array([2]), Strings.of([b"a"]), None, None]
    first = DictionaryChecksums.of_tables((1, 1, 1, 50, 7), arrays, COLUMNS)
    changed = replace(COLUMNS, dense=(DenseColumn(name="age", transform="none"),))
    second = DictionaryChecksums.of_tables((1, 1, 1, 50, 7), arrays, changed)
    assert first.tables == second.tables
    assert first.fingerprint != second.fingerprint
    criteo = [np.array([5])] * 26
    assert DictionaryChecksums.of_tables((1,) * 26, criteo, Columns.criteo()) == DictionaryChecksums.of_tables(
        (1,) * 26, criteo
    )


def test_texts_cut_at_other_places_have_another_checksum() -> None:
    one = DictionaryChecksums.of_tables((2,), [Strings.of([b"ab", b"c"])])
    other = DictionaryChecksums.of_tables((2,), [Strings.of([b"a", b"bc"])])
    assert one.tables != other.tables


def test_count_that_is_not_the_columns_rows_is_named(tmp_path: Path) -> None:
    Vocabulary(VALUES, COLUMNS).save(tmp_path)
    np.savez(tmp_path / COUNTS_NAME, counts=np.array([3, 2, 3, 50, 8]))
    with pytest.raises(DataFormatError, match="the table of item has 8 rows, but its column states 7"):
        Vocabulary.load(tmp_path, COLUMNS)


@pytest.mark.parametrize(
    ("offsets", "data"),
    [([0, 2, 1, 3], b"abc"), ([0, 1, 2, 4], b"abc"), ([1, 1, 2, 3], b"abc"), ([], b""), ([0, 1, 2, 2], b"abc")],
)
def test_texts_whose_bounds_are_wrong_are_rejected(tmp_path: Path, offsets: list[int], data: bytes) -> None:
    Vocabulary(VALUES, COLUMNS).save(tmp_path)
    np.savez(tmp_path / dictionary_name(2), offsets=np.array(offsets, np.int64), data=np.frombuffer(data, np.uint8))
    with pytest.raises(DataFormatError, match=r"the offsets of its strings do not fit its [03] bytes"):
        Vocabulary.load(tmp_path, COLUMNS)


def test_damaged_dictionary_of_texts_is_told_with_one_piece_of_advice(tmp_path: Path) -> None:
    Vocabulary(VALUES, COLUMNS).save(tmp_path)
    (tmp_path / dictionary_name(2)).write_bytes(b"PK")
    with pytest.raises(DataFormatError, match=r"npz file with the array 'offsets' \(.*\)\. Preprocess[^.]*\.$"):
        Vocabulary.load(tmp_path, COLUMNS)
    (tmp_path / dictionary_name(2)).unlink()
    with pytest.raises(DataFormatError, match=r"is missing\. Preprocess[^.]*\.$"):
        Vocabulary.load(tmp_path, COLUMNS)


def test_dictionary_of_another_kind_is_rejected(tmp_path: Path) -> None:
    Vocabulary(VALUES, COLUMNS).save(tmp_path)
    (tmp_path / dictionary_name(2)).write_bytes((tmp_path / dictionary_name(1)).read_bytes())
    with pytest.raises(DataFormatError, match="cannot be read as an npz file with the array 'offsets'"):
        Vocabulary.load(tmp_path, COLUMNS)


@given(texts=TEXTS, data=st.data())
def test_some_texts_are_selected(texts: list[bytes], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    found = selected(shifted(texts), np.array(keep, np.bool_))
    assert bytes_of(found) == [text for text, kept in zip(texts, keep, strict=True) if kept]


@given(texts=TEXTS)
def test_the_value_for_unseen_ones_comes_first(texts: list[bytes]) -> None:
    assert bytes_of(unseen_first("string", shifted(texts))) == [b"\xfe", *texts]
    assert len(from_zero(shifted(texts)).data) == sum(map(len, texts))


def test_integers_are_selected_and_preceded_too() -> None:
    values = np.array([4, 5], np.int64)
    assert np.asarray(selected(values, np.array([False, True]))).tolist() == [5]
    assert np.asarray(unseen_first("integer", values)).tolist() == [-(2**63) + 1, 4, 5]
    assert np.asarray(unseen_first("hex", values)).tolist() == [-1, 4, 5]


def test_value_that_a_dictionary_has_twice_is_named(tmp_path: Path) -> None:
    vocabulary = Vocabulary([*VALUES[:2], Strings.of([b"x", b"x"]), None, None], COLUMNS)
    with pytest.raises(DataFormatError, match="'x' occurs twice"):
        vocabulary.ids(2, RawSparse(Strings.of([b"x"])))


def test_vocabulary_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(Vocabulary(VALUES, COLUMNS)))
    assert copy.ids(2, RawSparse(Strings.of([b"", b"z"])))[0].tolist() == [1, 2]
    assert copy.unseen_id(0) == 1
