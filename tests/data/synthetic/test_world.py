from __future__ import annotations

import numpy as np
import pytest

from dlrm_pl.data.synthetic.best_auroc import BestAUROC
from dlrm_pl.data.synthetic.drawing import MISSING_DENSE, MISSING_RANK, DrawnColumns
from dlrm_pl.data.synthetic.marginals import TASTE_TABLES, TOPIC_TABLES
from dlrm_pl.data.synthetic.world import (
    BLOCK_ROWS,
    VARIANCE_SHARES,
    Block,
    ClickWorld,
)
from dlrm_pl.errors import ConfigurationError

ROWS = 150_000


@pytest.fixture(scope="module")
def world() -> ClickWorld:
    return ClickWorld(seed=11, label_rate=0.033, best_auroc=0.82, max_table_size=None)


@pytest.fixture(scope="module")
def block(world: ClickWorld) -> Block:
    parts = list(world.blocks(ROWS))
    return Block(
        DrawnColumns(
            np.concatenate([part.columns.dense for part in parts], axis=1),
            np.concatenate([part.columns.ranks for part in parts], axis=1),
        ),
        np.concatenate([part.logit for part in parts]),
        np.concatenate([part.label for part in parts]),
    )


def one_row(dense: int = 3, rank: int = 0) -> DrawnColumns:
    return DrawnColumns(np.full((13, 1), dense, dtype=np.float64), np.full((26, 1), rank, dtype=np.int64))


def changed(columns: DrawnColumns, ranks: dict[int, int]) -> DrawnColumns:
    result = columns.ranks.copy()
    for table, rank in ranks.items():
        result[table] = rank
    return DrawnColumns(columns.dense, result)


@pytest.mark.parametrize(("label_rate", "best_auroc"), [(0.033, 0.78), (0.033, 0.84), (0.25, 0.9), (0.5, 0.6)])
def test_label_rate_and_best_auroc_are_as_asked(label_rate: float, best_auroc: float) -> None:
    best = BestAUROC()
    for block in ClickWorld(3, label_rate, best_auroc, None).blocks(ROWS):
        best.add(block.logit, block.label)
    # Pilot and rows are samples: five standard errors of a rate, and 0.01 for 5,000 clicks (standard error 0.003).
    assert best.positives / best.rows == pytest.approx(label_rate, rel=0.05)
    assert best.compute() == pytest.approx(best_auroc, abs=0.01)


def test_probabilities_are_those_of_the_labels(block: Block) -> None:
    probability = 1 / (1 + np.exp(-block.logit))
    for rows in np.array_split(np.argsort(block.logit), 10):
        expected = probability[rows].sum()
        assert abs(block.label[rows].sum() - expected) < 5 * expected**0.5


def test_each_part_has_its_share_of_the_variance(world: ClickWorld, block: Block) -> None:
    parts = world.logit_parts(block.columns)
    variances = {name: getattr(parts, name).var() for name in VARIANCE_SHARES}
    for name, share in VARIANCE_SHARES.items():
        assert variances[name] / sum(variances.values()) == pytest.approx(share, abs=0.02)


def test_pairs_have_an_effect_that_no_sum_of_single_effects_has(world: ClickWorld) -> None:
    logits = [
        [world.logit_parts(changed(one_row(), {13: left, 16: right})).total()[0] for right in (0, 1)] for left in (0, 1)
    ]
    assert abs(logits[0][0] - logits[0][1] - logits[1][0] + logits[1][1]) > 0.01


def test_tables_outside_the_pairs_only_add(world: ClickWorld) -> None:
    logits = [
        [world.logit_parts(changed(one_row(), {0: left, 16: right})).total()[0] for right in (0, 1)] for left in (0, 1)
    ]
    assert logits[0][0] - logits[0][1] - logits[1][0] + logits[1][1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("table", [*TASTE_TABLES, *TOPIC_TABLES])
def test_a_model_of_single_features_does_not_see_the_pairs(world: ClickWorld, block: Block, table: int) -> None:
    pair = world.logit_parts(block.columns).pair
    for rank in range(3):
        rows = pair[block.columns.ranks[table] == rank]
        assert abs(rows.mean()) < 5 * rows.std() / len(rows) ** 0.5


def test_interaction_earns_its_place(world: ClickWorld, block: Block) -> None:
    parts = world.logit_parts(block.columns)
    full, additive = BestAUROC(), BestAUROC()
    full.add(parts.total(), block.label)
    additive.add(parts.dense + parts.single, block.label)
    # Ten standard errors of a paired difference; even a perfect model without interaction stays this far below.
    assert full.compute() - additive.compute() > 0.03


@pytest.mark.parametrize("recorded_as_zero", [-1, -2, MISSING_DENSE])
def test_the_logit_knows_no_more_than_the_binary_format_keeps(world: ClickWorld, recorded_as_zero: int) -> None:
    seen = world.logit_parts(one_row(dense=recorded_as_zero)).total()
    np.testing.assert_array_equal(seen, world.logit_parts(one_row(dense=0)).total())


def test_absence_has_an_effect(world: ClickWorld) -> None:
    for table in range(26):
        absent = world.logit_parts(changed(one_row(), {table: MISSING_RANK})).single
        assert absent != world.logit_parts(one_row()).single


def test_every_column_has_an_effect(world: ClickWorld) -> None:
    base = world.logit_parts(one_row()).total()
    for column in range(13):
        row = one_row()
        row.dense[column] = 40
        assert world.logit_parts(row).total() != base
    for table in range(26):
        assert world.logit_parts(changed(one_row(), {table: 1})).total() != base


def test_more_rows_begin_with_the_same_rows(world: ClickWorld) -> None:
    few = list(world.blocks(BLOCK_ROWS + 5))
    many = list(world.blocks(2 * BLOCK_ROWS))
    assert [len(block.label) for block in few] == [BLOCK_ROWS, 5]
    for ours, theirs in zip(few, many, strict=True):
        rows = len(ours.label)
        np.testing.assert_array_equal(ours.columns.dense, theirs.columns.dense[:, :rows])
        np.testing.assert_array_equal(ours.columns.ranks, theirs.columns.ranks[:, :rows])
        np.testing.assert_array_equal(ours.label, theirs.label[:rows])


def test_another_seed_is_another_world() -> None:
    first, second = (ClickWorld(seed, 0.033, 0.82, 100) for seed in (1, 2))
    assert first.logit_parts(one_row()).total() != second.logit_parts(one_row()).total()
    assert first.values.hash(0, np.arange(9)).tolist() != second.values.hash(0, np.arange(9)).tolist()


def test_an_auroc_out_of_reach_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"best_auroc=0\.9999999 is too high: at label_rate=.* at most 0\.99"):
        ClickWorld(1, 0.033, 0.9999999, 100)
