"""The law of synthetic clicks: a seeded world in which the click probability of every row is known.

The logit is a sum of four parts, each with a fixed share of the variance:

* dense: every dense feature has a monotone, a hump-shaped and an "is zero" effect;
* single: every table has an effect for each of its frequent values and for the empty field;
* pair: values of the ``PAIR_LEFT`` tables have a taste, values of the ``PAIR_RIGHT`` tables a topic, both vectors of
  ``TASTE_DIM`` numbers and zero on average; the effect is the dot product of the two sums. It is invisible to any
  model of single features and within reach of dot products of embeddings;
* the intercept, which sets the label rate.

The logit depends on a row only through what the binary format keeps: dense values below zero and empty dense fields are
zeros there. So the best possible AUROC is one for what a model is shown. An informative absence is the effect of zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlrm_pl.batch import NUM_DENSE, NUM_SPARSE
from dlrm_pl.data.synthetic_auroc import expected_auroc
from dlrm_pl.data.synthetic_columns import (
    SPARSE_MISSING_RATE,
    CategoryHash,
    Columns,
    Floats,
    draw_columns,
    rank_probability,
    standardized_dense,
    table_sizes,
)
from dlrm_pl.errors import ConfigurationError

VARIANCE_SHARES = {"dense": 0.36, "single": 0.34, "pair": 0.30}
"""Share of each part in the variance of the logit."""

TASTE_DIM = 2
PAIR_LEFT = (1, 5, 8, 13, 16)
"""Tables (C2, C6, ...) whose values have a taste."""
PAIR_RIGHT = (0, 4, 7, 22)
"""Tables (C1, C5, ...) whose values have a topic."""

BLOCK_ROWS = 1 << 14
"""Rows drawn at once, each block from a generator of its own; part of the definition of a seed's rows."""

_FREQUENT = 512
_FADE = 64.0
_PILOT_BLOCKS = 4
_MAX_SCALE = 64.0

# First number of the key of each generator, so that no two share a stream.
_EFFECTS, _HASHES, _PILOT, _ROWS = range(4)


@dataclass(frozen=True)
class Block:
    """Rows of the log with the truth about them; ``logit`` float64 ``[B]``, ``label`` bool ``[B]``."""

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
    """The law of the clicks of one seed.

    Args:
        seed: fixes effects, hashes and rows. Another seed is another world with other rows; the same seed with more
            rows begins with the same rows.
        label_rate: mean click probability.
        best_auroc: AUROC that the true probability has in expectation.
        max_table_size: cuts tables after so many values; None: as many as the logs have.

    Raises:
        ConfigurationError: ``best_auroc`` is out of reach at this label rate.
    """

    def __init__(self, seed: int, label_rate: float, best_auroc: float, max_table_size: int | None) -> None:
        self.seed = seed
        self.table_sizes = table_sizes(max_table_size)
        self.category_hash = CategoryHash(self._generator(_HASHES))
        rng = self._generator(_EFFECTS)
        self._slope, self._hump, self._zero = (_weights(rng, NUM_DENSE, decay) for decay in (0.75, 0.75, 0.75))
        self._single = [
            weight * self._table_effect(rng, table)
            for table, weight in enumerate(np.abs(_weights(rng, NUM_SPARSE, 0.9)))
        ]
        self._taste = {
            table: np.stack([self._table_effect(rng, table) for _ in range(TASTE_DIM)])
            for table in (*PAIR_LEFT, *PAIR_RIGHT)
        }
        self._part_scale = LogitParts(*(np.ones(1) for _ in VARIANCE_SHARES))
        self._fit_to_pilot(label_rate, best_auroc)

    def logit_parts(self, columns: Columns) -> LogitParts:
        """Return what each group of features adds to the logit."""
        position = np.minimum(columns.ranks, _FREQUENT)
        recorded = np.maximum(columns.dense, 0)
        bell = standardized_dense(recorded)
        dense = self._slope @ np.tanh(bell)
        dense += self._hump @ np.exp(-2.0 * bell**2)
        dense += self._zero @ (recorded == 0)
        # Position -1, the empty field, is the last entry of a table of effects.
        single = sum(effect[position[table]] for table, effect in enumerate(self._single))
        taste = sum(self._taste[table][:, position[table]] for table in PAIR_LEFT)
        topic = sum(self._taste[table][:, position[table]] for table in PAIR_RIGHT)
        pair = np.sum(taste * topic, axis=0)
        scale = self._part_scale
        return LogitParts(scale.dense * dense, scale.single * single, scale.pair * pair)

    def blocks(self, num_rows: int) -> Iterator[Block]:
        """Yield the first ``num_rows`` rows in blocks of ``BLOCK_ROWS``."""
        for start in range(0, num_rows, BLOCK_ROWS):
            columns, rng = self._block_columns(_ROWS, start // BLOCK_ROWS)
            logit = self.intercept + self.logit_parts(columns).total()
            label = rng.random(BLOCK_ROWS) * (1.0 + np.exp(-logit)) < 1.0
            keep = slice(0, num_rows - start)
            yield Block(Columns(columns.dense[:, keep], columns.ranks[:, keep]), logit[keep], label[keep])

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))

    def _block_columns(self, stream: int, block: int) -> tuple[Columns, np.random.Generator]:
        rng = self._generator(stream, block)
        return draw_columns(rng, BLOCK_ROWS, self.table_sizes), rng

    def _table_effect(self, rng: np.random.Generator, table: int) -> Floats:
        """Draw an effect for each rank, of zero mean and unit variance over the rows, ``[_FREQUENT + 2]``.

        Effects fade with the rank, because an effect of a rare value could not be learned; the last two entries are
        those of all rarer values and of the empty field.
        """
        ranks = min(self.table_sizes[table], _FREQUENT)
        effect = np.zeros(_FREQUENT + 2)
        effect[:ranks] = _standard_normal(rng, ranks) * np.exp(-np.arange(ranks) / _FADE)
        effect[-1] = _standard_normal(rng, 1)[0]
        share = np.zeros(_FREQUENT + 2)
        share[:ranks] = rank_probability(table, self.table_sizes[table], ranks)
        share[-2] = max(0.0, 1.0 - share.sum())
        share *= 1.0 - SPARSE_MISSING_RATE[table]
        share[-1] = SPARSE_MISSING_RATE[table]
        effect -= share @ effect
        standardized: Floats = effect / np.sqrt(share @ effect**2)
        return standardized

    def _fit_to_pilot(self, label_rate: float, best_auroc: float) -> None:
        """Set shares, overall scale and intercept on a pilot sample that is no part of the output."""
        pilot = [self.logit_parts(self._block_columns(_PILOT, block)[0]) for block in range(_PILOT_BLOCKS)]
        parts = {name: np.concatenate([getattr(part, name) for part in pilot]) for name in VARIANCE_SHARES}
        unit = {name: np.sqrt(share) / parts[name].std() for name, share in VARIANCE_SHARES.items()}
        total = np.sort(sum(unit[name] * parts[name] for name in parts))

        low, high = 0.0, _MAX_SCALE
        reached = expected_auroc(_probability(total, high, label_rate)[0])
        if reached < best_auroc:
            raise ConfigurationError(
                f"best_auroc={best_auroc} is out of reach: at most {reached:.6f} at label_rate={label_rate}. "
                "Ask for less."
            )
        for _ in range(40):
            scale = 0.5 * (low + high)
            probability, self.intercept = _probability(total, scale, label_rate)
            low, high = (scale, high) if expected_auroc(probability) < best_auroc else (low, scale)
        self._part_scale = LogitParts(**{name: scale * factor for name, factor in unit.items()})


def _probability(total: Floats, scale: float, label_rate: float) -> tuple[Floats, float]:
    """Return the probabilities of logits ``scale * total + intercept`` whose mean is ``label_rate``, and the intercept."""
    low, high = -1000.0, 1000.0
    for _ in range(60):
        intercept = 0.5 * (low + high)
        probability = 1.0 / (1.0 + np.exp(-np.clip(scale * total + intercept, -500.0, 500.0)))
        low, high = (intercept, high) if probability.mean() < label_rate else (low, intercept)
    return probability, intercept


def _weights(rng: np.random.Generator, count: int, decay: float) -> Floats:
    """Draw weights of random sign and order whose sizes fall geometrically: some features matter more, ``[count]``."""
    size = decay ** np.argsort(rng.random(count))
    return np.where(rng.random(count) < 0.5, -size, size)


def _standard_normal(rng: np.random.Generator, count: int) -> Floats:
    """Draw normal numbers from uniform ones alone (Box-Muller), see ``draw_columns``."""
    radius = np.sqrt(-2.0 * np.log(1.0 - rng.random(count)))
    normal: Floats = radius * np.cos(2.0 * np.pi * rng.random(count))
    return normal
