"""Pairs of models whose true loss of AUROC is known: what tests of the paired test draw from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.metrics.sequential import Look, sequential_auroc_test


@dataclass(frozen=True)
class BinormalPair:
    """A model, and a copy of it with noise in its logits.

    The first model's logit is normal with variance 1 in either class, the means a distance apart that gives ``auroc``.
    The second's is the same plus independent normal noise, as much as makes the AUROC smaller by ``loss``: with
    distance d and noise of variance v, AUROC is Phi(d / sqrt(2 (1 + v))).

    Attributes:
        auroc: of the first model.
        loss: of the second, in units of AUROC; 0 or more.
        label_rate: share of clicks.
    """

    auroc: float
    loss: float
    label_rate: float

    def draw(
        self, rng: np.random.Generator, rows: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Scores of both models and labels, ``[rows]`` each."""
        inverse = NormalDist().inv_cdf
        distance = math.sqrt(2) * inverse(self.auroc)
        variance = (inverse(self.auroc) / inverse(self.auroc - self.loss)) ** 2 - 1
        labels = rng.random(rows) < self.label_rate
        first = rng.normal(size=rows) + distance * labels
        return first, first + math.sqrt(variance) * rng.normal(size=rows), labels


@dataclass(frozen=True)
class ErrorRates:
    """How simulated trials ended.

    Attributes:
        trials: simulated.
        wrong: verdicts on the wrong side of the tolerance.
        open: no verdict on all rows.
        rows: read by each trial.
    """

    trials: int
    wrong: int
    open: int
    rows: tuple[int, ...]

    @property
    def wrong_rate(self) -> float:
        """Wrong verdicts among all trials."""
        return self.wrong / self.trials


def error_rates(
    pair: BinormalPair, *, tolerance: float, confidence: float, first_block: int, rows: int, trials: int, seed: int
) -> ErrorRates:
    """Run the sequential test on fresh rows so many times; ``pair.loss`` tells which verdict is wrong."""
    rng: np.random.Generator = np.random.default_rng(seed)
    looks: list[Look] = []
    for _ in range(trials):
        drawn: tuple[npt.NDArray[Any], ...] = pair.draw(rng, rows)
        looks.append(sequential_auroc_test(*drawn, tolerance=tolerance, confidence=confidence, first_block=first_block))
    wrong = "beyond" if pair.loss <= tolerance else "within"
    return ErrorRates(
        trials=trials,
        wrong=sum(look.decision == wrong for look in looks),
        open=sum(look.decision == "open" for look in looks),
        rows=tuple(look.rows for look in looks),
    )
