"""Update looked-up rows in place, like a step of the tables' optimizer with a sparse gradient.

No shape depends on values, and nothing waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sgd(table: Tensor, rows: Tensor, gradients: Tensor, rate: float) -> None:
    """Take an SGD step.

    Args:
        table: ``[all rows, D]``, changed in place.
        rows: int64 ``[L]``; a row may occur several times, and its gradients are added up.
        gradients: gradient of each of these rows, ``[L, D]``.
        rate: learning rate.
    """
    table.index_add_(0, rows, gradients, alpha=-rate)


def adagrad(table: Tensor, sums: Tensor, rows: Tensor, gradients: Tensor, rate: float, epsilon: float) -> None:
    """Take an Adagrad or row-wise Adagrad step.

    Args:
        table: ``[all rows, D]``, changed in place.
        sums: sums of squared gradients, changed in place: ``[all rows, D]``; for row-wise Adagrad ``[all rows]``, sums
            of a row's mean squares.
        rows: int64 ``[L]``; a row may occur several times, and its gradients are added up.
        gradients: gradient of each of these rows, ``[L, D]``.
        rate: learning rate.
        epsilon: value added to the root of the sum.
    """
    rows, gradients = grouped(rows, gradients)
    squares = gradients.square()
    sums.index_add_(0, rows, squares if sums.dim() == 2 else squares.mean(dim=1))
    roots = sums[rows].sqrt_().add_(epsilon)
    roots = roots if sums.dim() == 2 else roots[:, None]
    # Without an epsilon, the root may be 0 for a row without gradients.
    steps = torch.where(gradients == 0, 0.0, gradients / roots)
    table.index_add_(0, rows, steps, alpha=-rate)


def grouped(rows: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the gradients of equal rows.

    Args:
        rows: int64 ``[L]``.
        gradients: ``[L, D]``.

    Returns:
        Each row once, ascending, and the sum of its gradients; then, to keep the length L, entries for row 0 with
        gradients of 0.
    """
    ordered, order = rows.sort(stable=True)
    is_new = torch.ones_like(ordered, dtype=torch.bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    group = is_new.cumsum(0) - 1
    unique = torch.zeros_like(ordered).scatter_(0, group, ordered)
    return unique, torch.zeros_like(gradients).index_add_(0, group, gradients[order])
