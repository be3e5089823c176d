"""Choose a dtype for each op so that the cost is lowest and the drops add up to no more than a tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Number of steps that the tolerance is divided into. Drops are rounded up to whole steps, so that their sum never
# exceeds it.
_STEPS = 4000


@dataclass(frozen=True)
class Choice:
    """A dtype that an op may have, with its price.

    Attributes:
        dtype: dtype of the op.
        cost: cost by the objective, lower is better.
        drop: predicted drop of the score; a negative one counts as 0.
    """

    dtype: str
    cost: float
    drop: float


def allocate(choices: Mapping[str, Sequence[Choice]], tolerance: float) -> dict[str, str]:
    """Solve a multiple-choice knapsack: a dtype for each op, by dynamic programming over the ops and the drop so far.

    Args:
        choices: choices of each op, at least one.
        tolerance: largest allowed sum of the drops.

    Returns:
        Dtype by op: the cheapest combination within the tolerance, except that each drop is rounded up to a multiple of
        1/4000 of the tolerance. If there is no such combination, each op gets the dtype with the smallest drop, then
        the lowest cost.
    """
    least = {
        op: min(options, key=lambda choice: (max(0.0, choice.drop), choice.cost)) for op, options in choices.items()
    }
    best = np.zeros(_STEPS + 1)
    taken: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for options in choices.values():
        costs = np.full((len(options), _STEPS + 1), np.inf)
        for row, choice in enumerate(options):
            steps = _steps(choice.drop, tolerance)
            if steps <= _STEPS:
                costs[row, steps:] = best[: _STEPS + 1 - steps] + choice.cost
        taken.append(costs.argmin(axis=0))
        best = costs.min(axis=0)
    if not math.isfinite(best[_STEPS]):
        return {op: choice.dtype for op, choice in least.items()}
    left, result = _STEPS, {}
    for (op, options), rows in zip(list(choices.items())[::-1], taken[::-1], strict=True):
        choice = options[int(rows[left])]
        left -= _steps(choice.drop, tolerance)
        result[op] = choice.dtype
    return {op: result[op] for op in choices}


def _steps(drop: float, tolerance: float) -> int:
    """Steps of the tolerance that a drop uses up; more than there are if it exceeds the tolerance."""
    if drop <= 0:
        return 0
    return _STEPS + 1 if tolerance <= 0 or drop > tolerance else math.ceil(drop / tolerance * _STEPS)
