"""The columns and dictionaries of a dataset in one file."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.encoding.vocabulary_file import load_encoder, save_encoder
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.errors import ArtifactError

COLUMNS = Columns(
    "click",
    (DenseColumn(name="price", type="float", transform="standardize", mean=2.5, deviation=0.1),),
    (
        SparseColumn(name="code", kind="hex"),
        SparseColumn(name="word", at_most=3),
        SparseColumn(name="none", at_most=2),
        SparseColumn(name="user", kind="string", ids="hash", rows=50),
    ),
)
TABLES: list[Any] = [[7, 0, 2**32 - 1], Strings.of(["漢".encode(), b"", b"\xff"]), Strings.of([b""]), None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_encoder(RowEncoder(COLUMNS, Vocabulary(TABLES, COLUMNS), 1000), tmp_path / "v.safetensors")
    return tmp_path / "v.safetensors"


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def change(path: Path, *places: str, value: Any) -> None:
    """Change a value of the header."""
    header, data = header_of(path)
    inner: Any = header
    for place in places[:-1]:
        inner = inner[place]
    inner[places[-1]] = value
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_encoder_survives_the_round_trip(path: Path) -> None:
    loaded = load_encoder(path)
    assert loaded.columns == COLUMNS
    assert loaded.max_ind_range == 1000
    code, word, none, user = loaded.vocabulary.values
    assert np.asarray(code).tolist() == TABLES[0]
    assert isinstance(word, Strings)
    assert word.to_list() == ["漢".encode(), b"", b"\xff"]
    assert isinstance(none, Strings)
    assert none.to_list() == [b""]
    assert user is None


def test_same_encoder_gives_the_same_bytes_that_the_library_reads(path: Path) -> None:
    content = path.read_bytes()
    save_encoder(load_encoder(path), path)
    assert path.read_bytes() == content
    assert load_file(path)["0.values"].tolist() == TABLES[0]


def test_slice_of_longer_texts_is_saved_alone(path: Path) -> None:
    size = path.stat().st_size
    word = TABLES[1]
    longer = Strings(word.offsets + 2, np.concatenate([np.zeros(2, np.uint8), word.data, np.zeros(9, np.uint8)]))
    save_encoder(RowEncoder(COLUMNS, Vocabulary([TABLES[0], longer, *TABLES[2:]], COLUMNS), 1000), path)
    assert path.stat().st_size == size
    assert load_encoder(path).vocabulary.sizes == (3, 3, 1, 50)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"max_ind_range": "x"}, "max_ind_range: 'x' must be a whole number"),
        ({"format": 2}, "format 2; this version reads format 1"),
        ({"columns": {"dense": [], "sparse": []}}, "dense columns: there are none"),
        ({"columns": {"dense": [{"name": "a", "transform": "standardize"}], "sparse": [{"name": "c"}]}},
         r"0\.offsets is missing"),
        ({"columns": COLUMNS.statement() | {"sparse": [{"name": "c", "kind": "integer"}, {"name": "d"}]}, "more": 1},
         "more: 1 must be removed"),
        ({"columns": COLUMNS.statement() | {"dense": [{"name": "price", "transform": "standardize"}]}},
         "mean and deviation of transform=standardize are not known"),
    ],
)  # fmt: skip
def test_entry_of_another_kind_is_named(path: Path, entry: dict[str, Any], message: str) -> None:
    stated = {"format": 1, "columns": COLUMNS.statement(), "max_ind_range": -1} | entry
    change(path, "__metadata__", value={"dlrm_pl": json.dumps(stated)})
    with pytest.raises(ArtifactError, match=rf"v\.safetensors.*{message}"):
        load_encoder(path)


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        (
            "0.values",
            {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]},
            r"0\.values is float64 \[3\], but",
        ),
        ("0.values", {"dtype": "I64", "shape": [3, 1], "data_offsets": [0, 24]}, r"is int64 \[3, 1\], but must"),
        ("0.values", {"dtype": "I64", "shape": [4], "data_offsets": [0, 32]}, "cannot be read"),
    ],
)
def test_array_of_another_kind_is_named(path: Path, name: str, entry: dict[str, Any], message: str) -> None:
    change(path, name, value=entry)
    with pytest.raises(ArtifactError, match=rf"v\.safetensors: .*{message}"):
        load_encoder(path)


def test_bounds_of_texts_are_checked(path: Path) -> None:
    header, data = header_of(path)
    start = header["1.offsets"]["data_offsets"][0]
    content = path.read_bytes()
    first = len(content) - len(data) + start
    path.write_bytes(content[:first] + struct.pack("<q", 1) + content[first + 8 :])
    with pytest.raises(ArtifactError, match=r"v\.safetensors: the offsets of its strings do not fit its 4 bytes"):
        load_encoder(path)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_file_cut_short_is_refused(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArtifactError, match=r"v\.safetensors: cannot be read"):
        load_encoder(path)


def test_missing_file_and_missing_entry_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"other: cannot be read"):
        load_encoder(tmp_path / "other")
    change(path, "__metadata__", value={})
    with pytest.raises(ArtifactError, match=r"v\.safetensors: its metadata"):
        load_encoder(path)
