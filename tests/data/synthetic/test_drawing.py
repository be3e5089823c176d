from __future__ import annotations

import numpy as np
import pytest

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.synthetic.drawing import MISSING_DENSE, MISSING_RANK, DrawnColumns, draw_columns
from dlrm_pl.data.synthetic.marginals import (
    CATEGORIES,
    DENSE_MEDIAN,
    DENSE_MISSING_RATE,
    DENSE_SAMPLE_MAX,
    SPARSE_MISSING_RATE,
    marginals_of,
)
from dlrm_pl.data.synthetic.values import HASH_CYCLE, CategoryHash

# Number of rows and distinct values, empty field included, in the sample whose marginals are copied.
SAMPLE_ROWS = 137_139
SAMPLE_DISTINCT = (
    *(616, 528, 61764, 32223, 154, 12, 8634, 292, 3, 13982, 4087, 56397, 2944),
    *(26, 5897, 46382, 10, 2827, 1342, 4, 52250, 13, 14, 14596, 55, 11139),
)


@pytest.fixture(scope="module")
def columns() -> DrawnColumns:
    return draw_columns(np.random.Generator(np.random.PCG64(5)), SAMPLE_ROWS, marginals_of(Columns.criteo(), None))


def test_dense_fields_are_empty_as_often_as_in_the_logs(columns: DrawnColumns) -> None:
    rates = (columns.dense == MISSING_DENSE).mean(axis=1)
    # Five standard errors of a share of one half.
    np.testing.assert_allclose(rates, DENSE_MISSING_RATE, atol=5 * 0.5 / SAMPLE_ROWS**0.5)


def test_sparse_fields_are_empty_as_often_as_in_the_logs(columns: DrawnColumns) -> None:
    rates = (columns.ranks == MISSING_RANK).mean(axis=1)
    np.testing.assert_allclose(rates, SPARSE_MISSING_RATE, atol=5 * 0.5 / SAMPLE_ROWS**0.5)


def test_columns_of_one_missing_rate_are_empty_in_the_same_rows(columns: DrawnColumns) -> None:
    empty = columns.ranks == MISSING_RANK
    together = [table for table, rate in enumerate(SPARSE_MISSING_RATE) if rate == 0.442]
    assert together == [18, 19, 24, 25]
    for table in together[1:]:
        np.testing.assert_array_equal(empty[table], empty[together[0]])


def test_a_sample_shows_as_many_distinct_categories_as_one_of_the_logs(columns: DrawnColumns) -> None:
    distinct = [len(np.unique(ranks)) for ranks in columns.ranks]
    # Counts of distinct values scatter by about their square root; small tables by a few.
    np.testing.assert_allclose(distinct, SAMPLE_DISTINCT, rtol=0.02, atol=10)


def test_ranks_lie_inside_their_tables(columns: DrawnColumns) -> None:
    for ranks, (size, _) in zip(columns.ranks, CATEGORIES, strict=True):
        assert ranks.min() >= MISSING_RANK
        assert ranks.max() < size


def test_frequent_categories_have_the_probability_that_is_stated(columns: DrawnColumns) -> None:
    for table in (0, 2, 13, 20):
        ranks = columns.ranks[table][columns.ranks[table] != MISSING_RANK]
        counts = np.bincount(ranks)[:5]
        expected = len(ranks) * marginals_of(Columns.criteo(), None).rank_probability(table, 5)
        np.testing.assert_allclose(counts, expected, atol=5 * expected[0] ** 0.5)


def test_only_the_second_dense_column_goes_below_zero(columns: DrawnColumns) -> None:
    values, counts = np.unique(columns.dense[1][columns.dense[1] < 0], return_counts=True)
    assert values.tolist() == [-2, -1]
    np.testing.assert_allclose(counts / SAMPLE_ROWS, [0.002, 0.10], rtol=0.25)
    others = np.delete(columns.dense, 1, axis=0)
    assert others[others != MISSING_DENSE].min() == 0


def test_dense_values_have_the_middle_and_the_tail_of_the_logs(columns: DrawnColumns) -> None:
    for dense, median, largest in zip(columns.dense, DENSE_MEDIAN, DENSE_SAMPLE_MAX, strict=True):
        present = dense[dense != MISSING_DENSE]
        assert abs(np.median(present) - median) <= 1 + 0.03 * median
        # The largest of a power law's draws has only this order of magnitude.
        assert largest / 30 < present.max() < largest * 30


def test_a_cap_cuts_the_large_tables_only() -> None:
    marginals = marginals_of(Columns.criteo(), 1000)
    sizes = marginals.sizes
    assert max(sizes) == 1000
    assert [size for size, (full, _) in zip(sizes, CATEGORIES, strict=True) if full <= 1000] == [
        full for full, _ in CATEGORIES if full <= 1000
    ]
    ranks = draw_columns(np.random.Generator(np.random.PCG64(1)), 20_000, marginals).ranks
    assert ranks.max() < 1000


@pytest.mark.parametrize("table", [0, 2, 25])
def test_hashes_are_distinct_also_after_the_modulus_of_preprocessing(table: int) -> None:
    hashes = CategoryHash(np.random.Generator(np.random.PCG64(3)), 26)(table, np.arange(200_000))
    assert len(np.unique(hashes % HASH_CYCLE)) == 200_000
    assert (hashes % HASH_CYCLE).min() > 0  # 0 stands for the empty field
    assert hashes.max() < 2**32
    # They fill the 32 bits, as in the logs: each eighth of the range has about an eighth of them.
    np.testing.assert_allclose(np.bincount(hashes >> 29, minlength=8) / 200_000, 1 / 8, atol=0.02)


def test_the_empty_field_hashes_to_zero() -> None:
    hashes = CategoryHash(np.random.Generator(np.random.PCG64(3)), 26)(4, np.array([MISSING_RANK, 0]))
    assert hashes[0] == 0
    assert hashes[1] != 0


def test_no_category_hashes_to_the_zero_of_the_empty_field() -> None:
    category_hash = CategoryHash(np.random.Generator(np.random.PCG64(3)), 26)
    prime = 39_999_983
    # The rank that the affine map takes to 0, which no sample would find.
    inverse = pow(int(category_hash._multiplier[4]), -1, prime)
    rank = -int(category_hash._offset[4]) * inverse % prime
    assert category_hash(4, np.array([rank]))[0] % HASH_CYCLE == 1
