"""A reader written from docs/formats.md alone reads the same from a dataset folder as the program."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.model_inputs import dense_inputs, lookups
from dlrm_pl.data.formats.raw_rows import RawSparse
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from tests.reference.dataset_reader import DatasetReader
from tests.support.logs.any_columns import MIXED, write_dataset


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every transform, kind, id method and kind of list, with more rows than a block."""
    folder = tmp_path_factory.mktemp("mixed")
    write_dataset(folder, MIXED, rows=9000)
    return folder


@pytest.fixture(params=["mixed", "criteo"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue({"mixed": "mixed", "criteo": "synthetic_folder"}[request.param])
    return path


def test_rows_are_those_of_the_program(folder: Path) -> None:
    reader, ours = DatasetReader(folder), DatasetFolder.open(folder)
    for split, info in ours.splits.items():
        records = reader.records(split)
        assert len(records) == info.records == reader.description["splits"][split]["records"]
        assert int(records[:, 0].sum()) == info.positives
        some = records[-200:]
        fields = some[:, ours.columns.dense_fields], some[:, ours.columns.sparse_fields]
        expected = dense_inputs(fields[0], ours.columns)
        found_inputs = np.array([reader.dense_inputs(record) for record in some])
        np.testing.assert_allclose(found_inputs, expected, rtol=2e-7)  # A logarithm may differ in its last bit.
        indices, offsets = lookups(fields[1], ours.columns)
        starts = np.arange(indices.size + 1) if offsets is None else offsets
        bags = [indices.reshape(-1)[first:last].tolist() for first, last in pairwise(starts)]
        found = [reader.bags(record) for record in some]
        assert [found[row][table] for table in range(ours.columns.num_sparse) for row in range(len(some))] == bags


def test_checksums_are_those_that_the_folder_states(folder: Path) -> None:
    reader = DatasetReader(folder)
    for split, stated in reader.description["splits"].items():
        assert reader.checksum(split) == stated["checksum"]
    fingerprint, dictionaries = reader.checksums_of_dictionaries()
    assert fingerprint == reader.description["fingerprint"]
    assert dictionaries == reader.description["dictionaries"]


@pytest.mark.parametrize("special", ["", "missing", "unseen and missing"])
def test_values_have_the_ids_that_the_program_gives(special: str, tmp_path: Path) -> None:
    write_dataset(tmp_path, MIXED, rows=5)
    hexadecimal, texts, integers = [3, 9], [b"a", "grün".encode(), b""], [7, -(2**40)]
    if "missing" in special:
        hexadecimal, texts, integers = [0, *hexadecimal], [b"\xff", *texts], [-(2**63), *integers]
    if "unseen" in special:
        hexadecimal, texts, integers = [-1, *hexadecimal], [b"\xfe", *texts], [-(2**63) + 1, *integers]
    vocabulary = Vocabulary([hexadecimal, Strings.of(texts), integers, None, None], MIXED)
    vocabulary.save(tmp_path)
    (tmp_path / "dataset.json").write_text((tmp_path / "dataset.json").read_text().replace('"table_sizes"', '"was"'))
    reader = DatasetReader(tmp_path)
    for table, values in enumerate(
        ([0, 3, 9, 10], [b"a", b"", "grün".encode(), b"b"], [7, -(2**40), 8], [b"a", b"x"], [0, 6, 7, 2**40])
    ):
        missing = np.array([False] * len(values) + [True])
        is_text = isinstance(values[0], bytes)
        raw = Strings.of([*values, b""]) if is_text else np.array([*values, 0], np.int64)  # type: ignore[list-item]
        expected, _ = vocabulary.ids(table, RawSparse(raw, missing=missing))
        assert [reader.id_of(table, value) for value in [*values, None]] == expected.tolist()
