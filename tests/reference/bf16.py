"""Linears in bfloat16 as Intel's tiles compute them, in rational numbers that are rounded where the tiles round."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]


def rounded(value: Fraction) -> np.float32:
    """Return the nearest float32, ties to even."""
    near = np.float32(float(value))
    candidates = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    return min(candidates, key=lambda each: (abs(Fraction(float(each)) - value), int(each.view(np.int32)) % 2))


def bf16(values: Floats, tiny: float = 2.0**-50) -> Floats:
    """Return values as a layer reads them: rounded to bfloat16, and 0 if tiny."""
    halves = torch.from_numpy(values).bfloat16().float().numpy()
    return np.where(np.abs(halves) < np.float32(tiny), np.float32(0), halves)


def dot(x: Floats, weights: Floats) -> np.float32:
    """Return the sum of the products of two bfloat16 vectors."""
    total = np.float32(0)
    for start in range(0, len(x), 32):
        pairs = list(zip(x[start : start + 32].tolist(), weights[start : start + 32].tolist(), strict=True))
        even, odd = (reduce(_add_product, pairs[first::2], np.float32(0)) for first in (0, 1))
        total = total + (even + odd)
    return total


def _add_product(total: np.float32, pair: tuple[float, float]) -> np.float32:
    return rounded(Fraction(pair[0]) * Fraction(pair[1]) + Fraction(float(total)))
