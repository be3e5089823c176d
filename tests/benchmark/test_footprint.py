"""Bytes per sample, counted by hand, and the rows of a benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlrm_pl.benchmark import footprint
from dlrm_pl.benchmark.rows import dataset_rows, random_rows
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from tests.support import tiny

MLPERF = Architecture(
    table_sizes=(10,) * 26, embedding_dim=128, bottom_mlp=(13, 512, 256, 128), top_mlp=(1024, 1024, 512, 256, 1)
)


def test_counts_of_mlperfs_shape() -> None:
    assert footprint.float_row_bytes(MLPERF, 4) == 26 * 512
    macs = 13 * 512 + 512 * 256 + 256 * 128 + 479 * 1024 + 1024 * 1024 + 1024 * 512 + 512 * 256 + 256
    biases = 512 + 256 + 128 + 1024 + 1024 + 512 + 256 + 1
    assert footprint.weight_count(MLPERF) == macs + biases
    assert footprint.weight_count(MLPERF) == sum(
        parameter.numel() for name, parameter in tiny.model(0, MLPERF).named_parameters() if "mlp" in name
    )


def test_bytes_of_an_int8_model() -> None:
    model = tiny.model()
    recipe = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
    int8 = quantize(model, recipe, tiny.batches(1, 64), table_packer(model))
    assert 3 * 8 <= footprint.int8_row_bytes(int8) <= 3 * (8 + 8)
    weights = footprint.weight_count(tiny.ARCHITECTURE)
    assert weights <= footprint.int8_weight_bytes(int8) <= 4 * weights


def test_random_rows_are_seeded_and_inside_their_tables() -> None:
    for size in (1, 7, 2**17):
        batches = random_rows(tiny.ARCHITECTURE, seed=3)(size)
        assert {batch.num_samples for batch in batches} == {size}
        assert 4 <= len(batches) <= 512
    first, again, other = (random_rows(tiny.ARCHITECTURE, seed)(64)[0] for seed in (3, 3, 4))
    assert torch.equal(first.indices, again.indices)
    assert not torch.equal(first.indices, other.indices)
    tiny.model()(first)  # An index outside its table would raise.


def test_random_rows_of_columns_with_lists_have_their_lengths() -> None:
    columns = Columns(
        "y",
        tuple(DenseColumn(name=f"d{number}") for number in range(tiny.ARCHITECTURE.bottom_mlp[0])),
        (SparseColumn(name="a"), SparseColumn(name="b", bag=3), SparseColumn(name="c", at_most=2)),
    )
    batch = random_rows(tiny.ARCHITECTURE, seed=3, columns=columns)(300)[0]
    assert batch.offsets is not None
    lengths = batch.offsets.diff().view(3, 300)
    assert [set(of_table.tolist()) for of_table in lengths] == [{1}, {3}, {0, 1, 2}]
    one, three, any_ = footprint.lookups_per_sample(batch)
    assert (one, three) == (1, 3)
    assert any_ == pytest.approx(float(lengths[2].float().mean()))
    assert footprint.float_row_bytes(tiny.ARCHITECTURE, 4, (1, 3, 0.5)) == 4.5 * 8 * 4
    assert footprint.lookups_per_sample(tiny.batches(1, 4)[0]) == (1, 1, 1)
    tiny.model()(batch)  # An index outside its table would raise.


def test_rows_of_a_dataset_come_in_order_and_repeat_where_there_are_too_few(synthetic_folder: Path) -> None:
    dataset = ClickDataset.of_split(DatasetFolder.open(synthetic_folder), "test")
    whole = dataset[0 : len(dataset)]
    batches = dataset_rows(dataset)(600)
    assert len(batches) == len(dataset) // 600
    assert torch.equal(torch.cat([batch.dense for batch in batches]), whole.dense[: 600 * len(batches)])
    (large,) = dataset_rows(dataset)(3 * len(dataset))
    assert large.num_samples == 3 * len(dataset)
