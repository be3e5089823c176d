"""Packed tables: layout, bounds, and pooled lookups in every dtype."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import LookupIndexError, ShapeError
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.runtime.tables import TABLE_DTYPES, PackedTables, TableDtype, row_bytes
from tests.reference import int8 as reference
from tests.support.examples import examples


def dequantized(packed: torch.Tensor, dtype: TableDtype, dim: int) -> np.ndarray:
    """Return rows read byte by byte, following the documented layout."""
    if dtype in ("fp16", "fp32"):
        return packed.float().numpy()
    raw = packed.numpy()
    return np.stack([reference.bag_sum([row], dtype, dim) for row in raw])


def pool(tables: list[np.ndarray], bags: list[list[list[int]]], dim: int) -> np.ndarray:
    """Sum the rows given by bags[table][sample]."""
    return np.stack(
        [
            [sum((table[row] for row in bag), np.zeros(dim, np.float32)) for bag in bags_of_table]
            for table, bags_of_table in zip(tables, bags, strict=True)
        ],
        axis=1,
    )


def pack_table(weight: torch.Tensor, dtype: TableDtype) -> torch.Tensor:
    return TablePacker([weight]).packed((dtype,))[0]


@settings(deadline=None, max_examples=examples(30))
@given(
    dtype=st.sampled_from(TABLE_DTYPES),
    rows=st.integers(1, 40),
    dim=st.integers(1, 24),
    seed=st.integers(0, 99),
)
def test_packing_is_within_half_a_step(dtype: TableDtype, rows: int, dim: int, seed: int) -> None:
    weight = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    packed = pack_table(weight, dtype)
    assert packed.shape[1] * packed.element_size() == row_bytes(dtype, dim)
    largest = weight.abs().max(dim=1).values.numpy()[:, None]
    span = (weight.max(dim=1).values.clamp_min(0) - weight.min(dim=1).values.clamp_max(0)).numpy()[:, None]
    # The zero point of int4 rows is a whole number of steps, which adds half a step at the ends.
    bound = {
        "int8": largest / 127 * 0.51,
        "int4": span / 15 * 1.02,
        "fp16": 2e-3,
        "fp32": 0,
    }[dtype]
    assert (np.abs(dequantized(packed, dtype, dim) - weight.numpy()) <= bound + 1e-6).all()


@settings(deadline=None, max_examples=examples(30))
@given(data=st.data(), tables=st.integers(1, 4), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_multi_hot_lookup_sums_the_rows_of_each_bag(data: st.DataObject, tables: int, batch: int, seed: int) -> None:
    dim = 4
    rng = torch.Generator().manual_seed(seed)
    sizes = [3 + table for table in range(tables)]
    dtypes = [data.draw(st.sampled_from(TABLE_DTYPES)) for _ in range(tables)]
    packed = [pack_table(torch.randn(n, dim, generator=rng), d) for n, d in zip(sizes, dtypes, strict=True)]
    bags = [[data.draw(st.lists(st.integers(0, size - 1), max_size=4)) for _ in range(batch)] for size in sizes]
    flat = [row for of_table in bags for bag in of_table for row in bag]
    lengths = [len(bag) for of_table in bags for bag in of_table]
    offsets = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int64)
    found = PackedTables(packed, dtypes, dim)(torch.tensor(flat, dtype=torch.int64), offsets)
    expected = pool([dequantized(p, d, dim) for p, d in zip(packed, dtypes, strict=True)], bags, dim)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-3, atol=2e-3)


def test_one_hot_equals_bags_of_one() -> None:
    packed = [pack_table(torch.randn(5, 4), "int8"), pack_table(torch.randn(7, 4), "int4")]
    tables = PackedTables(packed, ("int8", "int4"), 4)
    indices = torch.tensor([[0, 4, 2], [6, 0, 3]])
    one_hot = tables(indices, None)
    assert one_hot.shape == (3, 2, 4)
    torch.testing.assert_close(one_hot, tables(indices.flatten(), torch.arange(7)), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", TABLE_DTYPES)
@pytest.mark.parametrize("index", [-1, 3, 2**40])
def test_index_beyond_the_table_is_rejected_in_every_dtype(dtype: TableDtype, index: int) -> None:
    tables = PackedTables([pack_table(torch.randn(3, 4), dtype)], (dtype,), 4)
    with pytest.raises(LookupIndexError, match=f"sample 1: row {index} of table 0 .* rows 0 to 2"):
        tables(torch.tensor([[0, index]]), None)


def test_table_of_another_layout_is_rejected() -> None:
    with pytest.raises(ShapeError, match=r"table 0: int8 rows of dim 4 .* \[3, 4\]"):
        PackedTables([torch.zeros(3, 4, dtype=torch.uint8)], ("int8",), 4)


def test_indices_for_another_number_of_tables_are_rejected() -> None:
    tables = PackedTables([torch.zeros(3, 4)] * 2, ("fp32", "fp32"), 4)
    with pytest.raises(ShapeError, match=r"2 tables need indices of shape \[T, B\] = \[2, 5\], got \[3, 5\]"):
        tables(torch.zeros(3, 5, dtype=torch.int64), None)
    with pytest.raises(ShapeError, match="3 offsets, got"):
        tables(torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
