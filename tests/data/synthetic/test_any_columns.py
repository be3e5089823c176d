"""Synthetic logs with any columns equal the result of preprocessing their files, and are as hard as requested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.binary_format import SPLITS, open_records
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.synthetic.best_auroc import BestAUROC
from dlrm_pl.data.synthetic.drawing import ABSENT_RANK, MISSING_DENSE, MISSING_RANK, DrawnColumns
from dlrm_pl.data.synthetic.synthesize import Format, synthesize
from dlrm_pl.data.synthetic.values import texts
from dlrm_pl.data.synthetic.world import Block, ClickWorld
from dlrm_pl.errors import ConfigurationError, OutputError

EXAMPLE = Columns.read("example")
pytestmark = pytest.mark.long

# More than a block, and a last day with an odd number of rows.
SIZES: dict[str, Any] = {"rows": 20_003, "days": 3, "seed": 5, "max_table_size": 300, "label_rate": 0.2}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DatasetFolder]:
    folder = tmp_path_factory.mktemp("datasets")
    for name in ("avazu", "example", "criteo"):
        synthesize(folder / name, columns=Columns.read(name), **SIZES)
    return {name: DatasetFolder.open(folder / name) for name in ("avazu", "example", "criteo")}


@pytest.fixture(scope="module")
def example() -> ClickWorld:
    return ClickWorld(5, 0.2, 0.82, 300, EXAMPLE)


@pytest.fixture(scope="module")
def block(example: ClickWorld) -> Block:
    return next(example.blocks(16_000))


@pytest.mark.parametrize(
    ("name", "output_format"),
    [
        ("avazu", "csv"),
        ("example", "parquet"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("avazu", "parquet"), ("criteo", "csv"))),
        ("criteo", "parquet"),
    ],
)
def test_a_dataset_is_what_preprocessing_the_files_gives(
    datasets: dict[str, DatasetFolder], tmp_path: Path, name: str, output_format: Format
) -> None:
    columns = Columns.read(name)
    logs = synthesize(tmp_path / "logs", columns=columns, format=output_format, **SIZES)
    made = preprocess(tmp_path / "logs", tmp_path / "made", PreprocessOptions(columns=columns, randomize="none")).folder
    expected = datasets[name]
    for split in SPLITS:
        assert made.split_path(split).read_bytes() == expected.split_path(split).read_bytes()
    assert made.columns == expected.columns  # With the same means and deviations.
    assert made.fingerprint == expected.fingerprint
    assert made.dictionaries == expected.dictionaries
    assert logs.best_possible_auroc == expected.best_possible_auroc
    assert [path.name for path in sorted((tmp_path / "logs").iterdir())] == [
        "_synthetic.json",
        *(f"day_{day}.{output_format}" for day in range(3)),
    ]


def test_lists_are_of_all_lengths_and_have_missing_elements(datasets: dict[str, DatasetFolder], block: Block) -> None:
    records = open_records(datasets["example"].split_path("train"), EXAMPLE)
    fields = dict(zip((column.name for column in EXAMPLE.sparse), EXAMPLE.table_fields, strict=True))
    lengths = (records[:, fields["tags"]] >= 0).sum(axis=1)
    assert set(lengths.tolist()) == {0, 1, 2, 3, 4, 5}
    assert (records[:, fields["sizes"]] >= 0).all()
    assert (records[:, fields["viewed"]] == 0).any()  # The id of a missing element.


def test_texts_are_distinct_and_of_several_scripts() -> None:
    values = np.arange(1, 5_001) * 858_993
    found = [text.decode() for text in texts(values).to_list()]
    assert len(set(found)) == len(values)
    assert {len(text) for text in found} == {8}
    assert {len(text.encode()) for text in found} == {8, 16, 24, 32}


@pytest.mark.parametrize("name", ["avazu", "example"])
def test_rows_are_as_hard_as_asked(name: str) -> None:
    best = BestAUROC()
    for block in ClickWorld(3, 0.2, 0.8, 300, Columns.read(name)).blocks(60_000):
        best.add(block.logit, block.label)
    assert best.positives / best.rows == pytest.approx(0.2, rel=0.05)
    assert best.compute() == pytest.approx(0.8, abs=0.01)


def test_the_logit_is_a_function_of_the_record(tmp_path: Path) -> None:
    """Rows with the same record have the same logit, including hash collisions, remainders and missing values."""
    columns = Columns(
        "click",
        (DenseColumn(name="a", transform="none"), DenseColumn(name="b", transform="standardize")),
        (
            SparseColumn(name="hashed", kind="string", ids="hash", rows=4),
            SparseColumn(name="slot", kind="hex", ids="modulo", rows=3),
            SparseColumn(name="list", kind="integer", ids="hash", rows=3, at_most=2, pooling="mean"),
        ),
    )
    world = ClickWorld(1, 0.3, 0.7, 40, columns)
    blocks = list(world.blocks(60_000))
    synthesize(
        tmp_path / "clicks", rows=60_000, seed=1, label_rate=0.3, best_auroc=0.7, max_table_size=40, columns=columns
    )
    folder = DatasetFolder.open(tmp_path / "clicks")
    records = np.concatenate(
        [open_records(folder.split_path(split), folder.columns) for split in ("train", "test", "val")]
    )
    logits = np.concatenate([part.logit for part in blocks])
    seen, group = np.unique(records[:, 1:], axis=0, return_inverse=True)
    assert len(seen) < len(records) / 2
    highest, lowest = np.full(len(seen), -np.inf), np.full(len(seen), np.inf)
    np.maximum.at(highest, group, logits)
    np.minimum.at(lowest, group, logits)
    np.testing.assert_allclose(highest, lowest, atol=1e-9)


def changed(columns: DrawnColumns, rows: slice, ranks: list[int]) -> DrawnColumns:
    """Return the first row with other elements in some places."""
    result = columns.ranks[:, :1].copy()
    result[rows, 0] = ranks
    return DrawnColumns(columns.dense[:, :1], result)


def test_the_effect_of_a_list_is_that_of_its_elements_together(example: ClickWorld, block: Block) -> None:
    def single(name: str, ranks: list[int]) -> float:
        table = EXAMPLE.find(name)[1]
        padded = ranks + [ABSENT_RANK] * (EXAMPLE.sparse[table].width - len(ranks))
        parts = example.logit_parts(changed(block.columns, example.marginals.rank_fields(table), padded))
        return float(parts.single[0])

    for name in ("viewed", "tags"):
        empty, one, other = single(name, []), single(name, [0]), single(name, [3])
        both = single(name, [0, 3])
        expected = empty + (one - empty) + (other - empty)
        if name == "tags":  # The mean.
            expected = (one + other) / 2
        assert both == pytest.approx(expected)
        assert both == pytest.approx(single(name, [3, 0]))
        assert single(name, [MISSING_RANK]) != empty


@pytest.mark.parametrize("count", [1, 2])
def test_few_columns_are_enough(tmp_path: Path, count: int) -> None:
    columns = Columns(
        "y",
        (DenseColumn(name="x", type="float"),),
        tuple(SparseColumn(name=f"s{number}") for number in range(count)),
    )
    report = synthesize(tmp_path / "clicks", rows=20_000, columns=columns, best_auroc=0.7, label_rate=0.3)
    assert report.best_possible_auroc["train"] == pytest.approx(0.7, abs=0.02)
    assert f"tables {count}," in str(report)


def test_columns_without_an_effect_are_refused() -> None:
    columns = Columns("y", (DenseColumn(name="x"),), (SparseColumn(name="s", ids="hash", rows=2),))
    with pytest.raises(ConfigurationError, match="is too high"):
        ClickWorld(1, 0.3, 0.99, 50, columns)


def test_floats_stand_in_records_to_the_bit(datasets: dict[str, DatasetFolder], example: ClickWorld) -> None:
    folder = datasets["example"]
    first = next(example.blocks(10_000)).columns.dense
    records = open_records(folder.split_path("train"), folder.columns)[:10_000]
    names = [column.name for column in folder.columns.dense]
    seconds, price = names.index("seconds"), names.index("price")
    expected = np.where(first[seconds] == MISSING_DENSE, 0, first[seconds]).astype(np.float32)
    np.testing.assert_array_equal(records[:, 1 + seconds].view(np.float32), expected)
    mean = folder.columns.dense[price].mean
    assert mean is not None
    expected = np.where(first[price] == MISSING_DENSE, mean, first[price]).astype(np.float32)
    np.testing.assert_array_equal(records[:, 1 + price].view(np.float32), expected)


def test_other_columns_are_not_overwritten_unasked(tmp_path: Path) -> None:
    columns = Columns.read("avazu")
    other = replace(columns, label="clicked")

    def write(columns: Columns, output_format: Format, *, overwrite: bool = False) -> None:
        synthesize(tmp_path / "logs", rows=100, columns=columns, format=output_format, overwrite=overwrite)

    write(columns, "csv")
    write(columns, "csv")
    for changed_columns, output_format in ((other, "csv"), (columns, "parquet")):
        with pytest.raises(OutputError, match="overwrite"):
            write(changed_columns, output_format)  # type: ignore[arg-type]
    write(columns, "parquet", overwrite=True)
    assert {path.suffix for path in (tmp_path / "logs").iterdir()} == {".parquet", ".json"}


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r'pip install "dlrm-pl\[frames\]"'):
        synthesize(tmp_path / "logs", rows=100, format="csv")
    assert list(tmp_path.iterdir()) == []
