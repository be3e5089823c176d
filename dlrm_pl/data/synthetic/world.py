"""Model of synthetic clicks: a seeded world in which the click probability of every row is known.

The logit is the sum of an intercept, which sets the label rate, and three parts with fixed shares of the variance:

* dense: every dense feature has a monotone, a hump-shaped and an "is zero" effect;
* single: every table has an effect for each of its frequent values and for the empty field;
* pair: values of the ``TASTE_TABLES`` have a taste and values of the ``TOPIC_TABLES`` a topic, numbers of zero mean;
  the effect is the sum of the tastes times the sum of the topics. Models that add up effects of single features cannot
  learn it; dot products of embeddings can.

The logit depends only on values that the binary format keeps: negative dense values and empty dense fields are zeros
there. So the best possible AUROC holds for the input of a model. The effect of zero makes an empty field informative.

As on the real logs, a DLRM must learn most of this from one pass of plain SGD over 25,000 clicks. Therefore the effects
are smooth in the logarithm and fade for rare values, and the pairs are from small tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dlrm_pl.data.formats.criteo_counts import NUM_DENSE, NUM_SPARSE
from dlrm_pl.data.synthetic.best_auroc import expected_auroc
from dlrm_pl.data.synthetic.columns import (
    SPARSE_MISSING_RATE,
    CategoryHash,
    Columns,
    Floats,
    draw_columns,
    log_over_median,
    rank_probability,
    table_sizes,
)
from dlrm_pl.errors import ConfigurationError

VARIANCE_SHARES = {"dense": 0.33, "single": 0.33, "pair": 0.34}
"""Share of each part in the variance of the logit."""

TASTE_TABLES = (5, 8, 13)
"""Tables (C6, C9, C14) whose values have a taste."""
TOPIC_TABLES = (16, 19, 22)
"""Tables (C17, C20, C23) whose values have a topic."""

BLOCK_ROWS = 1 << 14
"""Number of rows in a block, which has its own generator; part of the definition of a seed's rows."""

_FREQUENT = 128  # Ranks that have an effect; the last rank's is 0.0003 of the first one's.
_FADE = 16.0
# Typical sizes of the three effects of a dense feature.
_SLOPE, _HUMP, _ZERO = 1.0, 0.7, 0.3
# In a random order of the features, the size of each effect is that of the one before times this factor.
_DENSE_DECAY, _SPARSE_DECAY = 0.75, 0.9
_PILOT_BLOCKS = 4
_MAX_SCALE = 64.0

# First number of the key of each generator, so that no two share a stream.
_EFFECTS, _HASHES, _PILOT, _ROWS = range(4)


@dataclass(frozen=True)
class Block:
    """Rows of the log with their true ``logit``, float64 ``[B]``, and their ``label``, bool ``[B]``."""

    columns: Columns
    logit: Floats
    label: NDArray[np.bool_]


@dataclass(frozen=True)
class LogitParts:
    """The parts of the logit, each ``[B]``, before the intercept."""

    dense: Floats
    single: Floats
    pair: Floats

    def total(self) -> Floats:
        """Return the logit without its intercept, ``[B]``."""
        return self.dense + self.single + self.pair


class ClickWorld:
    """Model of the clicks of one seed.

    Args:
        seed: seed of effects, hashes and rows; more rows of a seed begin with the same rows.
        label_rate: mean click probability.
        best_auroc: expected AUROC of the true probabilities.
        max_table_size: largest number of values of a table; None for as many as the logs have.

    Raises:
        ConfigurationError: ``best_auroc`` cannot be reached at this label rate.
    """

    def __init__(self, seed: int, label_rate: float, best_auroc: float, max_table_size: int | None) -> None:
        self.seed = seed
        self.table_sizes = table_sizes(max_table_size)
        self.category_hash = CategoryHash(self._generator(_HASHES))
        rng = self._generator(_EFFECTS)
        self._slope, self._hump, self._zero = (
            size * _weights(rng, NUM_DENSE, _DENSE_DECAY) for size in (_SLOPE, _HUMP, _ZERO)
        )
        self._single = [
            weight * self._rank_effects(rng, table)
            for table, weight in enumerate(_weights(rng, NUM_SPARSE, _SPARSE_DECAY))
        ]
        self._latent = {
            table: self._standardized(table, self._rank_effects(rng, table)) for table in (*TASTE_TABLES, *TOPIC_TABLES)
        }
        self._scale = dict.fromkeys(VARIANCE_SHARES, 1.0)
        self._fit_to_pilot(label_rate, best_auroc)

    def logit_parts(self, columns: Columns) -> LogitParts:
        """Return the contribution of each group of features to the logit."""
        recorded = np.maximum(columns.dense, 0)
        logarithm = log_over_median(recorded)
        dense = self._slope @ np.tanh(0.7 * logarithm)
        dense += self._hump @ np.exp(-0.25 * logarithm**2)
        dense += self._zero @ (recorded == 0)
        # Position -1, the empty field, is the last entry of the effects of a table.
        position = np.minimum(columns.ranks, _FREQUENT)
        single = np.zeros(position.shape[1])
        for table, effect in enumerate(self._single):
            single += effect[position[table]]
        taste, topic = (
            np.sum([self._latent[table][position[table]] for table in tables], axis=0)
            for tables in (TASTE_TABLES, TOPIC_TABLES)
        )
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
            yield Block(Columns(columns.dense[:, keep], columns.ranks[:, keep]), logit[keep], label[keep])

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))

    def _block_columns(self, stream: int, block: int) -> tuple[Columns, np.random.Generator]:
        rng = self._generator(stream, block)
        return draw_columns(rng, BLOCK_ROWS, self.table_sizes), rng

    def _rank_effects(self, rng: np.random.Generator, table: int) -> Floats:
        """Draw an effect for each rank, ``[_FREQUENT + 2]``; the last is that of the empty field.

        The last but one is 0, for all rarer values. Effects fade with the rank, since an effect of a rare value could
        not be learned.
        """
        ranks = min(self.table_sizes[table], _FREQUENT)
        effect = np.zeros(_FREQUENT + 2)
        effect[:ranks] = _standard_normal(rng, ranks) * np.exp(-np.arange(ranks) / _FADE)
        effect[-1] = _standard_normal(rng, 1)[0]
        return effect

    def _standardized(self, table: int, effect: Floats) -> Floats:
        """Standardize an effect to zero mean and unit variance over the rows, ``[_FREQUENT + 2]``."""
        ranks = min(self.table_sizes[table], _FREQUENT)
        share = np.zeros(_FREQUENT + 2)
        share[:ranks] = rank_probability(table, self.table_sizes[table], ranks)
        share[-2] = max(0.0, 1.0 - share.sum())
        share *= 1.0 - SPARSE_MISSING_RATE[table]
        share[-1] = SPARSE_MISSING_RATE[table]
        centered = effect - share @ effect
        standardized: Floats = centered / np.sqrt(share @ centered**2)
        return standardized

    def _fit_to_pilot(self, label_rate: float, best_auroc: float) -> None:
        """Set shares, overall scale and intercept on a pilot sample that is not part of the output."""
        pilot = [self.logit_parts(self._block_columns(_PILOT, block)[0]) for block in range(_PILOT_BLOCKS)]
        parts = {name: np.concatenate([getattr(part, name) for part in pilot]) for name in VARIANCE_SHARES}
        unit = {name: float(np.sqrt(share) / parts[name].std()) for name, share in VARIANCE_SHARES.items()}
        # Scale and intercept do not change the order of the rows, so one sort is enough.
        total = np.sort(np.sum([unit[name] * parts[name] for name in parts], axis=0))

        low, high = 0.0, _MAX_SCALE
        reached = expected_auroc(_probability(total, high, label_rate)[0])
        if reached < best_auroc:
            raise ConfigurationError(
                f"best_auroc={best_auroc} is too high: at label_rate={label_rate} it is at most {reached:.6f}. "
                "Choose a lower value."
            )
        for _ in range(40):
            scale = 0.5 * (low + high)
            probability, self._intercept = _probability(total, scale, label_rate)
            low, high = (scale, high) if expected_auroc(probability) < best_auroc else (low, scale)
        self._scale = {name: scale * factor for name, factor in unit.items()}


@lru_cache(maxsize=8)
def click_world(seed: int, label_rate: float, best_auroc: float, max_table_size: int | None) -> ClickWorld:
    """Return the cached world of these arguments, or make it, which takes a second for its pilot sample.

    Raises:
        ConfigurationError: see ``ClickWorld``.
    """
    return ClickWorld(seed, label_rate, best_auroc, max_table_size)


def _probability(total: Floats, scale: float, label_rate: float) -> tuple[Floats, float]:
    """Return probabilities of logits ``scale * total + intercept``, and the intercept for the mean ``label_rate``."""
    low, high = -1000.0, 1000.0
    for _ in range(50):
        intercept = 0.5 * (low + high)
        probability = 1.0 / (1.0 + np.exp(-np.clip(scale * total + intercept, -500.0, 500.0)))
        low, high = (intercept, high) if probability.mean() < label_rate else (low, intercept)
    return probability, intercept


def _weights(rng: np.random.Generator, count: int, decay: float) -> Floats:
    """Draw weights ``[count]`` of random sign and order with geometric sizes, since some features matter more."""
    size = decay ** np.argsort(rng.random(count))
    return np.where(rng.random(count) < 0.5, -size, size)


def _standard_normal(rng: np.random.Generator, count: int) -> Floats:
    """Draw normal numbers from uniform ones alone (Box-Muller), see ``draw_columns``."""
    radius = np.sqrt(-2.0 * np.log(1.0 - rng.random(count)))
    normal: Floats = radius * np.cos(2.0 * np.pi * rng.random(count))
    return normal
