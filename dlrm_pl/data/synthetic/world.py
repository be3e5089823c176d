"""Model of synthetic clicks: a seeded world in which the click probability of every row is known.

The logit is the sum of an intercept, which sets the label rate, and three parts with fixed shares of the variance:

* dense: every dense feature has a monotone, a hump-shaped and an "is zero" effect;
* single: every table has an effect for each of its frequent values and for a missing one;
* pair: values of some small tables have a taste, and values of others a topic; both are numbers with zero mean. The
  effect is the sum of the tastes times the sum of the topics. Models that add up effects of single features cannot
  learn it; models with dot products of embeddings can.

The effect of a list is the mean of its elements' effects, or their sum divided by the square root of the column's
width, according to the column's pooling.

The logit depends only on what records keep, so the best possible AUROC holds for the input of a model. In records,
negative and missing dense values are zeros; the effect of zero makes a missing value informative. A missing value in a
standardized column is the mean in records, and has the effects of the median. Values with the same hash or remainder
count as one.

As with the real logs, a DLRM should be able to learn most of this in one pass of plain SGD over 25,000 clicks.
Therefore, the effects are smooth in the logarithm and fade for rare values, and the pairs come from small tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.lookup.values import Numbers
from dlrm_pl.data.synthetic.best_auroc import expected_auroc
from dlrm_pl.data.synthetic.bisection import bisected
from dlrm_pl.data.synthetic.drawing import (
    ABSENT_RANK,
    MISSING_DENSE,
    MISSING_RANK,
    DrawnColumns,
    Integers,
    draw_columns,
)
from dlrm_pl.data.synthetic.marginals import Floats, marginals_of
from dlrm_pl.data.synthetic.values import CategoryValues
from dlrm_pl.errors import ConfigurationError

VARIANCE_SHARES = {"dense": 0.33, "single": 0.33, "pair": 0.34}
"""Share of each part in the variance of the logit."""

BLOCK_ROWS = 1 << 14
"""Number of rows in a block, each with its own generator; it determines the rows that a seed gives."""

_FREQUENT = 128  # Number of ranks that have an effect; the last rank's is 0.0003 of the first one's.
_FADE = 16.0
# Typical sizes of the three effects of a dense feature.
_SLOPE, _HUMP, _ZERO = 1.0, 0.7, 0.3
# In a random order of the features, each effect has the size of the one before times this factor.
_DENSE_DECAY, _SPARSE_DECAY = 0.75, 0.9
_PILOT_BLOCKS = 4
_MAX_SCALE = 64.0

# First number of each generator's key, so that no two generators share a stream.
_EFFECTS, _HASHES, _PILOT, _ROWS = range(4)


@dataclass(frozen=True)
class Block:
    """Rows of the log with their true ``logit``, float64 ``[B]``, and their ``label``, bool ``[B]``."""

    columns: DrawnColumns
    logit: Floats
    label: NDArray[np.bool_]


@dataclass(frozen=True)
class LogitParts:
    """Parts of the logit, each ``[B]``, before the intercept."""

    dense: Floats
    single: Floats
    pair: Floats

    def total(self) -> Floats:
        """Return the logit without its intercept, ``[B]``."""
        return self.dense + self.single + self.pair


class ClickWorld:
    """Model of the clicks for one seed.

    Args:
        seed: seed of effects, hashes and rows; for the same seed, a larger number of rows begins with the same rows.
        label_rate: mean click probability.
        best_auroc: expected AUROC of the true probabilities.
        max_table_size: maximum number of values of a table; None for as many as in Criteo's logs.
        columns: columns of the rows; None: Criteo's.

    Raises:
        ConfigurationError: ``best_auroc`` cannot be reached at this label rate.
    """

    def __init__(
        self,
        seed: int,
        label_rate: float,
        best_auroc: float,
        max_table_size: int | None,
        columns: Columns | None = None,
    ) -> None:
        self.seed = seed
        self.columns = columns or Columns.criteo()
        self.marginals = marginals_of(self.columns, max_table_size)
        self.values = CategoryValues(self._generator(_HASHES), self.columns)
        rng = self._generator(_EFFECTS)
        self._slope, self._hump, self._zero = (
            size * _weights(rng, self.columns.num_dense, _DENSE_DECAY) for size in (_SLOPE, _HUMP, _ZERO)
        )
        self._single = [
            weight * self._rank_effects(rng, table)
            for table, weight in enumerate(_weights(rng, self.columns.num_sparse, _SPARSE_DECAY))
        ]
        self._tastes, self._topics = self.marginals.pair_tables()
        self._latent = {
            table: self._standardized(table, self._rank_effects(rng, table)) for table in (*self._tastes, *self._topics)
        }
        self._frequent_ids = {
            table: self._ids_of_ranks(table)
            for table, column in enumerate(self.columns.sparse)
            if column.ids != "vocabulary"
        }
        # Value whose effects a missing dense value has, [N, 1].
        standardized = [column.transform == "standardize" for column in self.columns.dense]
        self._instead = np.where(standardized, self.marginals.median, 0.0)[:, None]
        self._scale = dict.fromkeys(VARIANCE_SHARES, 1.0)
        self._fit_to_pilot(label_rate, best_auroc)

    def logit_parts(self, columns: DrawnColumns) -> LogitParts:
        """Return the contribution of each group of features to the logit."""
        recorded = np.maximum(np.where(columns.dense == MISSING_DENSE, self._instead, columns.dense), 0.0)
        logarithm = self.marginals.log_over_median(recorded)
        dense = self._slope @ np.tanh(0.7 * logarithm)
        dense += self._hump @ np.exp(-0.25 * logarithm**2)
        dense += self._zero @ (recorded == 0)
        single = np.zeros(columns.ranks.shape[1])
        latent: dict[int, Floats] = {}
        for table, effect in enumerate(self._single):
            ranks = columns.ranks[self.marginals.rank_fields(table)]
            positions = self._positions(table, ranks)
            single += self._pooled(table, effect[positions], ranks)
            if table in self._latent:
                latent[table] = self._pooled(table, self._latent[table][positions], ranks)
        taste, topic = (np.sum([latent[table] for table in tables], axis=0) for tables in (self._tastes, self._topics))
        return LogitParts(
            dense=self._scale["dense"] * dense,
            single=self._scale["single"] * single,
            pair=self._scale["pair"] * taste * topic,
        )

    def blocks(self, num_rows: int) -> Iterator[Block]:
        """Yield the first ``num_rows`` rows in blocks of ``BLOCK_ROWS``."""
        for start in range(0, num_rows, BLOCK_ROWS):
            columns, rng = self._block_columns(_ROWS, start // BLOCK_ROWS)
            logit = self._intercept + self.logit_parts(columns).total()
            label = rng.random(BLOCK_ROWS) * (1.0 + np.exp(-logit)) < 1.0
            keep = slice(0, num_rows - start)
            yield Block(DrawnColumns(columns.dense[:, keep], columns.ranks[:, keep]), logit[keep], label[keep])

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))

    def _block_columns(self, stream: int, block: int) -> tuple[DrawnColumns, np.random.Generator]:
        rng = self._generator(stream, block)
        return draw_columns(rng, BLOCK_ROWS, self.marginals), rng

    def _ids_of_ranks(self, table: int) -> tuple[Numbers, Integers]:
        """Return ids of a table whose ids are hashes or remainders, in their order, and the position of each.

        The position is that of the most frequent rank with the id, or of a missing value.
        """
        ranks = np.arange(-1, min(self.marginals.sizes[table], _FREQUENT))
        ids, first = np.unique(self.values.computed_ids(table, ranks), return_index=True)
        return ids, ranks[first]

    def _positions(self, table: int, ranks: Integers) -> Integers:
        """Return the places of ranks among the effects of a table, same shape; -1, the last, for a missing value."""
        if table not in self._frequent_ids:
            return np.minimum(ranks, _FREQUENT)
        known, positions = self._frequent_ids[table]
        present = np.where(ranks == ABSENT_RANK, MISSING_RANK, ranks)  # Any rank will do: its effect is left out.
        ids = self.values.computed_ids(table, present.ravel()).reshape(ranks.shape)
        place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.where(known[place] == ids, positions[place], _FREQUENT)

    def _pooled(self, table: int, effects: Floats, ranks: Integers) -> Floats:
        """Return the sum or the mean of the effects of each row's elements, ``[B]``, from ``[width, B]``."""
        column = self.columns.sparse[table]
        if not column.is_list:
            plain: Floats = effects[0]
            return plain
        present = ranks != ABSENT_RANK
        # A long list should not have a larger weight than a plain value.
        divisor = np.maximum(present.sum(axis=0), 1) if column.pooling == "mean" else np.sqrt(column.width)
        pooled: Floats = np.where(present, effects, 0.0).sum(axis=0) / divisor
        return pooled

    def _rank_effects(self, rng: np.random.Generator, table: int) -> Floats:
        """Draw an effect for each rank, ``[_FREQUENT + 2]``; the last one is for a missing value.

        The second last is 0, for all rarer values. Effects fade with the rank, since the effect of a rare value could
        not be learned.
        """
        ranks = min(self.marginals.sizes[table], _FREQUENT)
        effect = np.zeros(_FREQUENT + 2)
        effect[:ranks] = _standard_normal(rng, ranks) * np.exp(-np.arange(ranks) / _FADE)
        effect[-1] = _standard_normal(rng, 1)[0]
        return effect

    def _standardized(self, table: int, effect: Floats) -> Floats:
        """Standardize an effect to zero mean and unit variance over the rows, ``[_FREQUENT + 2]``."""
        ranks = min(self.marginals.sizes[table], _FREQUENT)
        share = np.zeros(_FREQUENT + 2)
        share[:ranks] = self.marginals.rank_probability(table, ranks)
        share[-2] = max(0.0, 1.0 - share.sum())
        missing = self.marginals.element_missing(table)
        share *= 1.0 - missing
        share[-1] = missing
        centered = effect - share @ effect
        standardized: Floats = centered / np.sqrt(share @ centered**2)
        return standardized

    def _fit_to_pilot(self, label_rate: float, best_auroc: float) -> None:
        """Fit the shares, overall scale and intercept to a pilot sample that is not part of the output."""
        pilot = [self.logit_parts(self._block_columns(_PILOT, block)[0]) for block in range(_PILOT_BLOCKS)]
        parts = {name: np.concatenate([getattr(part, name) for part in pilot]) for name in VARIANCE_SHARES}
        unit = {
            # A log with a single table has no pairs.
            name: float(np.sqrt(share) / parts[name].std()) if parts[name].std() else 0.0
            for name, share in VARIANCE_SHARES.items()
        }
        # Scale and intercept do not change the order of the rows, so one sort is enough.
        total = np.sort(np.sum([unit[name] * parts[name] for name in parts], axis=0))

        # Each step starts from the intercept of the previous step, which is close.
        intercept = 0.0

        def excess(scale: float) -> float:
            nonlocal intercept
            probability, intercept = _probability(total, scale, label_rate, intercept)
            return expected_auroc(probability) - best_auroc

        if (reached := excess(_MAX_SCALE) + best_auroc) < best_auroc:
            raise ConfigurationError(
                f"best_auroc={best_auroc} is too high: at label_rate={label_rate} it is at most {reached:.6f}. "
                "Choose a lower value."
            )
        scale = bisected(excess, 0.0, _MAX_SCALE, steps=40, start=1.0)
        _, self._intercept = _probability(total, scale, label_rate, intercept)
        self._scale = {name: scale * factor for name, factor in unit.items()}


@lru_cache(maxsize=8)
def click_world(
    seed: int, label_rate: float, best_auroc: float, max_table_size: int | None, columns: Columns
) -> ClickWorld:
    """Return the cached world for these arguments, or make it, which takes a fraction of a second for its pilot sample.

    Raises:
        ConfigurationError: see ``ClickWorld``.
    """
    return ClickWorld(seed, label_rate, best_auroc, max_table_size, columns)


def _probability(total: Floats, scale: float, label_rate: float, start: float) -> tuple[Floats, float]:
    """Return probabilities of logits ``scale * total + intercept``, and the intercept for the mean ``label_rate``.

    The search for the intercept starts at ``start``.
    """

    def probability(intercept: float) -> Floats:
        return 1.0 / (1.0 + np.exp(-np.clip(scale * total + intercept, -500.0, 500.0)))

    def excess(intercept: float) -> float:
        return float(probability(intercept).mean()) - label_rate

    intercept = bisected(excess, -1000.0, 1000.0, steps=50, start=start)
    return probability(intercept), intercept


def _weights(rng: np.random.Generator, count: int, decay: float) -> Floats:
    """Draw weights ``[count]`` of random sign and order with geometric sizes, since some features matter more."""
    size = decay ** np.argsort(rng.random(count))
    return np.where(rng.random(count) < 0.5, -size, size)


def _standard_normal(rng: np.random.Generator, count: int) -> Floats:
    """Draw normal numbers from uniform ones only (Box-Muller), see ``draw_columns``."""
    radius = np.sqrt(-2.0 * np.log(1.0 - rng.random(count)))
    normal: Floats = radius * np.cos(2.0 * np.pi * rng.random(count))
    return normal
