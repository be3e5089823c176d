"""Columns: the layout of records, plain values, differences, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl import Columns, DenseColumn, SparseColumn
from dlrm_pl.columns.columns import FOLDER
from dlrm_pl.columns.difference import difference
from dlrm_pl.errors import ConfigurationError, DataFormatError

DENSE = DenseColumn(name="age")
TAGS = SparseColumn(name="tags", at_most=5)


def test_criteo_is_the_record_of_160_bytes() -> None:
    columns = Columns.criteo()
    assert (columns.num_dense, columns.num_sparse, columns.record_ints, columns.record_bytes) == (13, 26, 40, 160)
    assert columns.names[0] == "label"
    assert (columns.names[1], columns.names[13], columns.names[14], columns.names[39]) == ("I1", "I13", "C1", "C26")
    assert (columns.dense_fields, columns.sparse_fields) == (slice(1, 14), slice(14, 40))
    assert columns.is_one_hot
    assert columns.is_criteo
    assert columns.has_raw_text
    assert all(column.type == "integer" and column.transform == "log1p" for column in columns.dense)
    assert all(column.kind == "hex" and column.ids == "vocabulary" for column in columns.sparse)


def test_a_record_has_room_for_each_bag() -> None:
    sparse = (
        SparseColumn(name="ad", kind="integer"),
        SparseColumn(name="pair", bag=2, kind="integer", ids="modulo", rows=10),
        TAGS,
    )
    columns = Columns("click", (DENSE, DenseColumn(name="price", type="float", transform="none")), sparse)
    assert columns.record_ints == 1 + 2 + 1 + 2 + 5
    assert columns.table_fields == (slice(3, 4), slice(4, 6), slice(6, 11))
    assert not columns.is_one_hot
    assert columns.find("pair") == ("sparse", 1)
    assert columns.find("price") == ("dense", 1)
    with pytest.raises(ConfigurationError, match=r"'prize' is not a column. Did you mean price"):
        columns.find("prize")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_files_of_the_program_survive_plain_values(path: Path) -> None:
    columns = Columns.read(path.stem)
    assert columns == Columns.read(f"configs/columns/{path.stem}.yaml") == Columns.read(path)
    assert Columns.of_statement(json.loads(json.dumps(columns.statement())), "x") == columns


_NAMES = st.from_regex(r"[A-Za-z_]{0,2}[0-9]{1,2}[a-z]?", fullmatch=True)
_DENSE = st.builds(DenseColumn, name=_NAMES, type=st.sampled_from(["integer", "float"]))
_SPARSE = st.builds(SparseColumn, name=_NAMES, at_most=st.sampled_from([None, 3])) | st.builds(
    SparseColumn,
    name=_NAMES,
    kind=st.just("integer"),
    ids=st.just("hash"),
    rows=st.just(9),
    bag=st.sampled_from([1, 4]),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # Drawing names of columns takes long on a busy machine.
@given(
    st.lists(_DENSE, min_size=1, max_size=9, unique_by=lambda column: column.name),
    st.lists(_SPARSE, min_size=1, max_size=9, unique_by=lambda column: column.name),
)
def test_plain_values_give_the_same_columns(dense: list[DenseColumn], sparse: list[SparseColumn]) -> None:
    sparse = [column for column in sparse if column.name not in {other.name for other in dense}]
    if not sparse:
        return
    columns = Columns("label", tuple(dense), tuple(sparse))
    again = Columns.of_statement(json.loads(json.dumps(columns.statement())), "x")
    assert again == columns
    assert again.digest == columns.digest


def test_statistics_change_the_digest_and_are_kept() -> None:
    price = DenseColumn(name="price", type="float", transform="standardize")
    columns = Columns("label", (DENSE, price), (TAGS,))
    known = columns.with_statistics({"price": (1.5, 0.25)})
    assert known.dense[1].mean == 1.5
    assert known.dense[1].computed
    assert not price.computed
    assert known.digest != columns.digest
    assert Columns.of_statement(known.statement(), "x") == known


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Columns("click", (DENSE,), (TAGS,)), "the label is label in the file, but click in the model"),
        (
            Columns("label", (DenseColumn(name="year"),), (TAGS,)),
            "dense column 0 is age in the file, but year in the model",
        ),
        (
            Columns("label", (DENSE,), (TAGS, SparseColumn(name="ad"))),
            "there are 1 sparse columns in the file, but 2 in the model",
        ),
        (
            Columns("label", (DENSE,), (SparseColumn(name="tags", at_most=4),)),
            "column tags has at_most=5 in the file, but 4 in the model",
        ),
        (
            Columns("label", (DENSE,), (SparseColumn(name="tags", kind="integer", at_most=5),)),
            "column tags has kind=string in the file, but integer in the model",
        ),
        (Columns("label", (DENSE,), (TAGS,)), ""),
    ],
)
def test_the_first_difference_is_described(other: Columns, expected: str) -> None:
    assert difference("the file", Columns("label", (DENSE,), (TAGS,)), "the model", other) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (5, "columns.yaml: 5 must be an object"),
        ({"sparse": [{"name": "a"}]}, "dense is missing"),
        ({"dense": [], "sparse": [{"name": "a"}]}, "dense columns: there are none"),
        ({"dense": [{"name": "a"}], "sparse": [{"name": "a"}]}, "Two columns have the name 'a'"),
        ({"dense": [{"name": "a"}], "sparse": [{"name": "label"}]}, "Two columns have the name 'label'"),
        ({"dense": [{"name": "a", "type": "text"}], "sparse": []}, "dense.0.type: 'text' must be one of"),
        ({"dense": [{"name": "a", "width": 1}], "sparse": []}, "dense.0.width: 1 must be removed: unknown field"),
        ({"dense": [{"name": "a{3..1}"}], "sparse": [{"name": "b"}]}, "must count upwards"),
        ({"dense": [{"name": "a{1..999999999}"}], "sparse": [{"name": "b"}]}, "at most 10,000 columns"),
        ({"dense": [{"name": "a"}], "sparse": [{"name": "b", "ids": "hash"}]}, "ids=hash needs rows"),
        ({"dense": [{"name": "a"}], "sparse": [{"name": "b", "rows": 9}]}, "rows=9 needs ids=hash or ids=modulo"),
        (
            {"dense": [{"name": "a"}], "sparse": [{"name": "b", "ids": "modulo", "rows": 9}]},
            "does not work for strings",
        ),
        ({"dense": [{"name": "a"}], "sparse": [{"name": "b", "bag": 2, "at_most": 2}]}, "are mutually exclusive"),
        ({"dense": [{"name": "a"}], "sparse": [{"name": "b", "bag": 0}]}, "bag=0 must be between 1"),
        (
            {"dense": [{"name": "a"}], "sparse": [{"name": "b", "pooling": "mean"}]},
            "pooling=mean needs a column of lists",
        ),
        ({"dense": [{"name": "a\tb"}], "sparse": [{"name": "b"}]}, "cannot be the name of a column"),
        ({"dense": [{"name": "a", "mean": 1}], "sparse": [{"name": "b"}]}, "mean=1.0 needs transform=standardize"),
    ],
)
def test_wrong_statements_are_refused(values: Any, expected: str) -> None:
    with pytest.raises(DataFormatError) as caught:
        Columns.of_statement(values, "columns.yaml", DataFormatError, "Preprocess again.")
    assert str(caught.value).startswith("columns.yaml: ")
    assert str(caught.value).endswith("Preprocess again.")
    assert expected in str(caught.value)


def test_unknown_files_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"criteos: there is no such columns file. Did you mean criteo"):
        Columns.read("criteos")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    with pytest.raises(ConfigurationError, match=r"empty\.yaml: is empty, but must state label, dense and sparse"):
        Columns.read(tmp_path / "empty.yaml")
