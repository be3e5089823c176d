"""Choose a dtype for each op: least cost, with drops that add up to no more than a tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Steps that the tolerance is divided into; drops are rounded up to whole steps, so the sum is never exceeded.
_STEPS = 4000


@dataclass(frozen=True)
class Choice:
    """What one op may be.

    Attributes:
        dtype: of the op.
        cost: of the objective, lower is better.
        drop: predicted; below 0 counts as 0.
    """

    dtype: str
    cost: float
    drop: float


def allocate(choices: Mapping[str, Sequence[Choice]], tolerance: float) -> dict[str, str]:
    """Solve it by dynamic programming over the ops and the drop spent so far (a multiple-choice knapsack).

    Args:
        choices: at least one for each op.
        tolerance: for the sum of the drops.

    Returns:
        A dtype for each op: of all that keep the tolerance those of the least cost, but for the rounding of each drop
        up to 1/4000 of the tolerance. Where none keeps it, those of the least drop, then of the least cost.
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
    if drop <= 0:
        return 0
    return _STEPS + 1 if tolerance <= 0 or drop > tolerance else math.ceil(drop / tolerance * _STEPS)
