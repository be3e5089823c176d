"""Quantiles of Student's t: critical values for bounds whose standard error is itself estimated from few rows."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

# With more degrees of freedom than this, the series below is accurate to six digits.
_MANY = 100.0


def student_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return the value that Student's t stays below with the given probability.

    Args:
        probability: strictly between 0 and 1.
        degrees_of_freedom: at least 1, fractions allowed; infinite for the normal distribution.

    Source: for many degrees, the expansion of Abramowitz and Stegun 1964, 26.7.5.
    """
    if probability < 0.5:
        return -student_quantile(1 - probability, degrees_of_freedom)
    z = NormalDist().inv_cdf(probability)
    if degrees_of_freedom > _MANY:
        first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / degrees_of_freedom + second / degrees_of_freedom**2 + third / degrees_of_freedom**3
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _above(middle, degrees_of_freedom) > 1 - probability else (low, middle)
    return math.sqrt(degrees_of_freedom) * math.tan(low)


def _above(angle: float, degrees_of_freedom: float) -> float:
    """Return the probability of t above ``sqrt(degrees) * tan(angle)``, an integral from there to a right angle."""
    half = (math.pi / 2 - angle) / 2
    nodes, weights = _quadrature()
    angles = angle + half * (1 + nodes)
    constant = math.lgamma((degrees_of_freedom + 1) / 2) - math.lgamma(degrees_of_freedom / 2)
    density = np.cos(angles) ** (degrees_of_freedom - 1)
    return float(half * (weights @ density) * math.exp(constant) / math.sqrt(math.pi))


@cache
def _quadrature() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return nodes and weights of Gauss and Legendre, which take 20 ms: not where no bound is computed."""
    return np.polynomial.legendre.leggauss(128)
