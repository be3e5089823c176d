"""Lookups, pooling and interaction in every variant: compared with NumPy, and bit by bit with each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import LookupIndexError, NonFiniteError
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES
from tests.reference import int8 as reference
from tests.support.native.kernels import SLOW_CHECKS, Chain, Lookups


@SLOW_CHECKS
@given(
    dtypes=st.lists(st.sampled_from(TABLE_DTYPES), max_size=6),
    dim=st.sampled_from([1, 8, 15, 16, 64, 65, 128, 200, 256]),
    batch=st.integers(1, 50),
    seed=st.integers(0, 2**16),
    multi_hot=st.booleans(),
    diagonal=st.booleans(),
    scale=st.sampled_from([None, 0.05, 3.0]),
)
def test_interaction_equals_numpy(
    variant: str, dtypes: list[str], dim: int, batch: int, seed: int, multi_hot: bool, diagonal: bool, scale: float
) -> None:
    lookups = Lookups(dtypes, dim, batch, seed, multi_hot=multi_hot)
    result = lookups.interact(diagonal, scale, 30).numpy()
    for sample in range(0, batch, 7):
        expected = reference.interaction(lookups.dense[sample].numpy(), lookups.rows(sample), diagonal, scale, 30)
        np.testing.assert_array_equal(result[sample, : len(expected)], expected)
        assert not result[sample, len(expected) :].any()


@pytest.mark.parametrize("count", [15, 16, 26, 31, 32, 48, 64])
@pytest.mark.parametrize("dim", [8, 128, 256])
def test_interaction_of_any_number_of_tables(variant: str, two_threads: None, count: int, dim: int) -> None:
    lookups = Lookups(["int8"] * count, dim, 45, count, multi_hot=False)
    result = lookups.interact(scale=0.3, zero_point=9).numpy()
    for sample in (0, 44):
        expected = reference.interaction(lookups.dense[sample].numpy(), lookups.rows(sample), False, 0.3, 9)
        np.testing.assert_array_equal(result[sample, : len(expected)], expected)


@SLOW_CHECKS
@given(
    dtypes=st.lists(st.sampled_from(TABLE_DTYPES), min_size=1, max_size=4),
    dim=st.sampled_from([1, 8, 15, 128]),
    batch=st.integers(1, 20),
    seed=st.integers(0, 2**16),
    multi_hot=st.booleans(),
)
def test_lookup_equals_numpy(variant: str, dtypes: list[str], dim: int, batch: int, seed: int, multi_hot: bool) -> None:
    lookups = Lookups(dtypes, dim, batch, seed, multi_hot=multi_hot)
    result = lookups.pool()
    for sample in range(batch):
        for table, (rows, dtype) in enumerate(lookups.rows(sample)):
            np.testing.assert_array_equal(result[sample, table].numpy(), reference.bag_sum(rows, dtype, dim))


MEANS = (True, False, True, True, True)


@pytest.mark.parametrize("dim", [1, 8, 15, 64, 128, 200])
def test_bags_are_averaged(variant: str, dim: int) -> None:
    lookups = Lookups(["int8", "fp32", *TABLE_DTYPES[1:]], dim, 20, dim, multi_hot=True, is_mean=MEANS)
    pooled, interacted = lookups.pool(), lookups.interact(True, 0.05, 30).numpy()
    for sample in range(20):
        rows = lookups.rows(sample)
        for table, (of_bag, dtype) in enumerate(rows):
            expected = (reference.bag_mean if MEANS[table] else reference.bag_sum)(of_bag, dtype, dim)
            np.testing.assert_array_equal(pooled[sample, table].numpy(), expected)
        expected = reference.interaction(lookups.dense[sample].numpy(), rows, True, 0.05, 30, MEANS)
        np.testing.assert_array_equal(interacted[sample, : len(expected)], expected)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_float_tables_are_pooled_as_torch_pools_them(variant: str, mode: str) -> None:
    lookups = Lookups(["fp32"], 48, 300, 7, multi_hot=True, is_mean=(mode == "mean",))
    assert lookups.offsets is not None
    expected = F.embedding_bag(lookups.indices, lookups.tables[0], lookups.offsets[:-1], mode=mode)
    assert torch.equal(lookups.pool()[:, 0], expected)


def test_one_hot_lookups_have_no_mean(variant: str) -> None:
    plain = Lookups(["int8", "int4", "fp16"], 32, 40, 3, multi_hot=False)
    means = Lookups(["int8", "int4", "fp16"], 32, 40, 3, multi_hot=False, is_mean=(True,) * 3)
    assert torch.equal(plain.pool(), means.pool())
    assert torch.equal(plain.interact(scale=0.1), means.interact(scale=0.1))


@pytest.mark.parametrize("dim", [257, 1000, 1024, 1025, 5001])
def test_wide_rows_are_looked_up_as_by_the_fallback(variant: str, monkeypatch: pytest.MonkeyPatch, dim: int) -> None:
    for multi_hot in (False, True):
        lookups = Lookups([*TABLE_DTYPES, "int8"], dim, 9, dim, multi_hot=multi_hot)
        found = [lookups.pool(), lookups.interact(), lookups.interact(diagonal=True, scale=20.0, zero_point=30)]
        expected = reference.interaction(lookups.dense[4].numpy(), lookups.rows(4), True, 20.0, 30)
        np.testing.assert_array_equal(found[2][4, : len(expected)].numpy(), expected)
        for table, (rows, dtype) in enumerate(lookups.rows(4)):
            np.testing.assert_array_equal(found[0][4, table].numpy(), reference.bag_sum(rows, dtype, dim))
        with monkeypatch.context() as patch:
            patch.setenv("DLRM_PL_ISA", "fallback")
            expected = [lookups.pool(), lookups.interact(), lookups.interact(diagonal=True, scale=20.0, zero_point=30)]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("dim", [1023, 4095, 32_768])
@pytest.mark.parametrize("value", [127, -128])
def test_products_of_the_widest_rows_are_rounded_once(variant: str, dim: int, value: int) -> None:
    rows = torch.full((1, dim + 4), value % 256, dtype=torch.uint8)
    rows[0, dim:] = torch.ones(1).view(torch.uint8)  # The scale.
    arguments = (torch.full((1, dim), 3.0), torch.zeros(2, 1, dtype=torch.int64), None, [rows, rows], [0, 0])
    pairs = torch.ops.dlrm_pl.lookup_interaction(*arguments, False, None, 0)[0, dim:].tolist()
    with_dense = np.float32(127 * value * dim) * (np.float32(3) / np.float32(127))
    assert pairs == [with_dense, with_dense, np.float32(value * value * dim)]


def test_bags_of_one_are_as_one_hot(variant: str) -> None:
    lookups = Lookups(["int8", "int4", "fp16"], 32, 40, 3, multi_hot=False)
    expected = lookups.interact(scale=0.1)
    lookups.indices, lookups.offsets = lookups.indices.flatten(), torch.arange(3 * 40 + 1)
    assert torch.equal(lookups.interact(scale=0.1), expected)


def test_a_part_of_a_batch_is_read_without_a_copy(variant: str) -> None:
    lookups = Lookups(["int8"] * 5, 16, 90, 1, multi_hot=False)
    whole = lookups.interact()
    lookups.dense, lookups.indices = lookups.dense[20:71], lookups.indices[:, 20:71]
    assert lookups.indices.stride() == (90, 1)
    assert torch.equal(lookups.interact(), whole[20:71])


def test_an_empty_batch(variant: str) -> None:
    lookups = Lookups(["int8"] * 2, 8, 0, 1, multi_hot=False)
    assert lookups.interact().shape == (0, 11)
    assert lookups.pool().shape == (0, 2, 8)
    assert Chain([13, 4], 0).run(torch.zeros(0, 13)).shape == (0, 4)


@pytest.mark.parametrize("value", [-1, 2**40, "rows"])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_index_outside_its_table_is_named(variant: str, two_threads: None, value: object, multi_hot: bool) -> None:
    lookups = Lookups(["int8", "int8", "int4"], 128, 300, 8, multi_hot=multi_hot)
    index = lookups.sizes[1] if value == "rows" else value
    assert isinstance(index, int)
    place, sample = 300 + 211, 211
    if lookups.offsets is not None:
        while lookups.offsets[place] == lookups.offsets[place + 1]:
            place, sample = place + 1, sample + 1
        place = int(lookups.offsets[place])
    lookups.indices.view(-1)[place] = index
    for call in (lookups.interact, lookups.pool):
        with pytest.raises(LookupIndexError, match=rf"sample {sample}: row {index} of table 1 .* 0 to"):
            call()


@pytest.mark.parametrize("change", [(5, -1), (5, 10**6), (6, 0)])
def test_offsets_out_of_order_are_named(variant: str, change: tuple[int, int]) -> None:
    lookups = Lookups(["int8", "fp32"], 8, 20, 2, multi_hot=True)
    assert lookups.offsets is not None
    lookups.offsets[change[0]] = change[1]
    for call in (lookups.interact, lookups.pool):
        with pytest.raises(LookupIndexError, match=r"sample [3-6]: its bag of table 0"):
            call()


def test_interaction_names_what_is_not_finite(variant: str, two_threads: None) -> None:
    lookups = Lookups(["int8", "fp32"], 8, 200, 2, multi_hot=False)
    lookups.dense[133, 3] = float("nan")
    with pytest.raises(NonFiniteError, match="sample 133: the bottom MLP's output"):
        lookups.interact()


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_a_packed_row_whose_scale_is_not_finite_is_named(variant: str, dtype: str, multi_hot: bool) -> None:
    lookups = Lookups(["int8", dtype], 8, 60, 4, multi_hot=multi_hot)
    lookups.tables[1][:, 4 if dtype == "int4" else 8 :] = 255  # The bits of a NaN.
    with pytest.raises(NonFiniteError, match=r"sample \d+: the pooled rows of its bag of table 1 are NaN or infinite"):
        lookups.interact(scale=0.1)
