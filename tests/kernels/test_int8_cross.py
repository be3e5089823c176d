"""Lookups followed by a cross network in every variant: compared with NumPy, and bit by bit with each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import LookupIndexError, NonFiniteError
from dlrm_pl.kernels.int8 import jobs
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES
from tests.reference import int8 as reference
from tests.support.native.kernels import SLOW_CHECKS, Crossed, Lookups


@SLOW_CHECKS
@given(
    dtypes=st.lists(st.sampled_from(TABLE_DTYPES), max_size=4),
    dim=st.sampled_from([1, 8, 15, 16, 65, 128, 200]),
    batch=st.integers(1, 70),
    layers=st.integers(1, 3),
    rank=st.sampled_from([1, 3, 16, 33, 64, 130]),
    seed=st.integers(0, 2**16),
    multi_hot=st.booleans(),
    scale=st.sampled_from([None, 0.05, 3.0]),
)
def test_cross_net_equals_numpy(
    variant: str,
    dtypes: list[str],
    dim: int,
    batch: int,
    layers: int,
    rank: int,
    seed: int,
    multi_hot: bool,
    scale: float | None,
) -> None:
    crossed = Crossed(Lookups(dtypes, dim, batch, seed, multi_hot=multi_hot), layers, rank, seed)
    result = crossed.run(scale, 30).numpy()
    for sample in range(0, batch, 9):
        lookups = crossed.lookups
        expected = reference.cross_net(
            lookups.dense[sample].numpy(), lookups.rows(sample), crossed.inputs, crossed.layers
        )
        if scale is not None:
            expected = reference.to_bytes(expected, scale, 30)
        np.testing.assert_array_equal(result[sample, : len(expected)], expected)
        assert not result[sample, len(expected) :].any()


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 64, 127, 128, 129, 300])
def test_every_block_of_rows(variant: str, two_threads: None, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    crossed = Crossed(
        Lookups(["int8", "int4", "fp32"], 48, rows, rows, multi_hot=True, is_mean=(True, False, True)), 2, 20, 5
    )
    whole = crossed.run(0.3, 9)
    for block in (32, 50, 128):
        monkeypatch.setattr(jobs, "CROSS_BLOCK_ROWS", block)
        assert torch.equal(crossed.run(0.3, 9), whole)
    lookups = crossed.lookups
    for sample in (0, rows - 1):
        expected = reference.cross_net(
            lookups.dense[sample].numpy(), lookups.rows(sample), crossed.inputs, crossed.layers, lookups.is_mean
        )
        np.testing.assert_array_equal(whole[sample, : len(expected)], reference.to_bytes(expected, 0.3, 9))


def test_every_variant_gives_the_same_floats(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crossed = Crossed(Lookups(["int8"] * 26, 128, 90, 3, multi_hot=True), 3, 512, 3)
    result = crossed.run()
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    assert torch.equal(result, crossed.run())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("in_table", [False, True])
def test_the_first_sample_that_is_not_finite_is_named(
    variant: str, two_threads: None, bad: float, in_table: bool
) -> None:
    lookups = Lookups(["fp32", "int8"], 24, 200, 3, multi_hot=True)
    lookups.tables[0] = torch.cat([lookups.tables[0], torch.full((1, 24), bad)])
    for sample in (77, 130):
        if in_table:
            assert lookups.offsets is not None
            place = next(  # The first lookup in the table's first nonempty bag from this sample on.
                int(lookups.offsets[bag])
                for bag in range(sample, 200)
                if lookups.offsets[bag + 1] > lookups.offsets[bag]
            )
            lookups.indices[place] = len(lookups.tables[0]) - 1
        else:
            lookups.dense[sample, 5] = bad
    crossed = Crossed(lookups, 3, 8, 1)
    named = (
        "sample (77|78|79|8.): the output of the cross network" if in_table else "sample 77: the output of the cross"
    )
    with pytest.raises(NonFiniteError, match=named):
        crossed.run()
    with pytest.raises(NonFiniteError, match=named):
        crossed.run(0.1, 3)


def test_the_first_sample_with_a_bad_index_is_named(variant: str, two_threads: None) -> None:
    lookups = Lookups(["int8"] * 3, 24, 200, 3, multi_hot=False)
    lookups.indices[2, 77], lookups.indices[0, 78], lookups.indices[1, 190] = -1, 1 << 62, 40
    crossed = Crossed(lookups, 2, 8, 1)
    with pytest.raises(LookupIndexError, match="sample 77: row -1 of table 2"):
        crossed.run()
    with pytest.raises(LookupIndexError, match="sample 77: row -1 of table 2"):
        lookups.pool()


def test_results_do_not_depend_on_earlier_calls(variant: str) -> None:
    """Padding is cleared, even if earlier calls had other widths."""
    small, results = Crossed(Lookups(["int8"], 10, 40, 7, multi_hot=False), 2, 5, 7), []
    for seed in (8, 9):
        Crossed(Lookups(["int8"] * 3, 64, 60, seed, multi_hot=False), 2, 70, seed).run(0.01, seed)
        results.append(small.run(0.1, 3))
    assert torch.equal(*results)
