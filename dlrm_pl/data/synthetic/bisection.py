"""Bisection that evaluates its function at few of its points, with the same result as plain bisection, to the bit."""

from __future__ import annotations

from collections.abc import Callable

Function = Callable[[float], float]

_SECANTS = 24


def bisected(function: Function, low: float, high: float, *, steps: int, start: float) -> float:
    """Return the last point of a bisection for the root of an increasing function.

    Plain bisection evaluates the function at each of its points, most of which are far from the root. Here, the secant
    method finds the root first, and two points next to it give the sign at all points that do not lie between them.

    Args:
        function: increasing function, negative left of its root.
        low: left end of the interval.
        high: right end of the interval.
        steps: number of times that the interval is halved.
        start: initial guess for the root.
    """
    last_width = (high - low) / 2.0**steps
    near = _near_root(function, low, high, start, last_width)
    # The two points are far enough from the root that rounding of the function's values does not matter.
    distance = 64.0 * last_width
    while (left := near - distance) > low and function(left) >= 0:
        distance *= 8.0
    while (right := near + distance) < high and function(right) < 0:
        distance *= 8.0
    middle = start
    for _ in range(steps):
        middle = 0.5 * (low + high)
        negative = function(middle) < 0 if left < middle < right else middle <= left
        low, high = (middle, high) if negative else (low, middle)
    return middle


def _near_root(function: Function, left: float, right: float, point: float, close: float) -> float:
    """Return a point that is most likely close to the root."""
    before: tuple[float, float] | None = None
    for _ in range(_SECANTS):
        value = function(point)
        left, right = (point, right) if value < 0 else (left, point)
        if before is None or before[1] == value:
            step = 0.125 if value < 0 else -0.125
        else:
            step = -value * (point - before[0]) / (value - before[1])
        if not left < point + step < right:
            step = 0.5 * (left + right) - point
        before, point = (point, value), point + step
        if abs(step) <= close:
            break
    return point
