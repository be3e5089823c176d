"""Means of consecutive values in a bounded number of bins, with each bin's smallest and largest value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST_BINS = 512
"""Maximum number of bins that are kept; no picture is wider than that in pixels."""

_JOINED: tuple[tuple[str, Callable[[list[float]], float]], ...] = (
    ("totals", sum),
    ("weights", sum),
    ("lows", min),
    ("highs", max),
)


class Bin(NamedTuple):
    """Some consecutive values.

    Attributes:
        step: step of the last value.
        mean: their weighted mean.
        low: the smallest.
        high: the largest.
    """

    step: float
    mean: float
    low: float
    high: float


@dataclass
class Bins:
    """Consecutive values, reduced to means, extremes and steps in at most ``MOST_BINS`` bins.

    Every bin but the last has the same number of values. When there are too many bins, neighbouring ones are merged in
    pairs, so the curve is thinned evenly and no extreme is lost.

    Attributes:
        width: number of values in a full bin.
        filled: number of values in the last bin.
        steps: step of the last value of each bin.
        totals: weighted sum of each bin.
        weights: sum of the weights of each bin.
        lows: smallest value of each bin.
        highs: largest value of each bin.

    Example:
        >>> bins = Bins()
        >>> bins.extend([4.0, 2.0], first=1, last=2)
        >>> [bin.mean for bin in bins]
        [4.0, 2.0]
    """

    width: int = 1
    filled: int = 1
    steps: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)

    def __iter__(self) -> Iterator[Bin]:
        """Yield the bins in order."""
        columns = (self.steps, self.totals, self.weights, self.lows, self.highs)
        for step, total, weight, low, high in zip(*columns, strict=True):
            yield Bin(step, total / weight, low, high)

    def __len__(self) -> int:
        """Return the number of bins."""
        return len(self.steps)

    def add(self, value: float, step: float, weight: float = 1.0) -> None:
        """Add the value of a step; its weight is positive."""
        self._add(1, value * weight, weight, value, value, step)

    def extend(self, values: Sequence[float], first: float, last: float) -> None:
        """Add values of equal weight: the first one is of the step ``first``, the last one of ``last``."""
        done, count = 0, len(values)
        while done < count:
            room = self.width - self.filled or self.width
            part = values[done : done + room]
            done += len(part)
            step = first + (last - first) * (done - 1) / (count - 1) if count > 1 else last
            self._add(len(part), sum(part), len(part), min(part), max(part), step)

    def _add(self, count: int, total: float, weight: float, low: float, high: float, step: float) -> None:
        """Add values to the last bin, which has room for them, or begin another."""
        if self.steps and self.filled < self.width:
            self.filled += count
            self.steps[-1] = step
            self.totals[-1] += total
            self.weights[-1] += weight
            self.lows[-1] = min(self.lows[-1], low)
            self.highs[-1] = max(self.highs[-1], high)
            return
        if len(self.steps) == MOST_BINS:
            self._join_pairs()
        self.filled = count
        for column, value in zip(
            (self.steps, self.totals, self.weights, self.lows, self.highs),
            (step, total, weight, low, high),
            strict=True,
        ):
            column.append(value)

    def at_most(self, count: int) -> Bins:
        """Return bins merged to a smaller number; a remainder is merged into the last full bin."""
        joined = Bins(**self.to_dict())
        joined._join_last(1 if joined.filled < joined.width else 0)
        while len(joined) > count:
            joined._join_last(len(joined) % 2)
            joined._join_pairs()
        return joined

    def _join_last(self, count: int) -> None:
        """Join the last bin to the one before it, so that the rest can be joined in pairs."""
        if not count or len(self) < 2:
            return
        self.filled = self.width
        self.steps[-2:] = self.steps[-1:]
        for name, join in _JOINED:
            column = getattr(self, name)
            column[-2:] = [join(column[-2:])]

    def _join_pairs(self) -> None:
        """Join an even number of full bins in pairs."""
        self.width *= 2
        self.filled = self.width
        self.steps = self.steps[1::2]
        for name, join in _JOINED:
            column = getattr(self, name)
            setattr(self, name, [join(column[at : at + 2]) for at in range(0, len(column), 2)])

    def is_sound(self) -> bool:
        """Whether values that were read from a file can be those of bins."""
        columns = (self.steps, self.totals, self.weights, self.lows, self.highs)
        return (
            1 <= self.filled <= self.width
            and len(self.steps) <= MOST_BINS
            and all(len(column) == len(self.steps) for column in columns)
            and all(math.isfinite(value) for column in columns for value in column)
            and all(weight > 0 for weight in self.weights)
            and self.steps == sorted(self.steps)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the bins as plain values."""
        return {name: list(value) if isinstance(value, list) else value for name, value in vars(self).items()}
