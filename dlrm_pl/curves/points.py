"""Values at some steps, in a bounded number of points that include the extremes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

MOST_POINTS = 512
"""Maximum number of points that are kept, in addition to the extremes."""


@dataclass
class Points:
    """Values at steps: every one is kept at first, then every second, every fourth, and so on.

    The first point, the last one, and those with the smallest and the largest value of each column are always kept.

    Attributes:
        every: distance between the numbers of regularly kept points.
        added: number of points that were added.
        numbers: numbers of the kept points, from 0.
        steps: steps of the kept points.
        rows: values of the kept points; all rows have the same length.

    Example:
        >>> points = Points()
        >>> points.add(10, (0.5, 0.7))
        >>> points.column(1)
        [0.7]
    """

    every: int = 1
    added: int = 0
    numbers: list[int] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of points that are kept."""
        return len(self.steps)

    def column(self, place: int) -> list[float]:
        """Return one value of each point."""
        return [row[place] for row in self.rows]

    def add(self, step: float, values: tuple[float, ...] | list[float]) -> None:
        """Add a point, with as many values as the others, all finite."""
        if self.numbers and self.numbers[-1] % self.every and self.numbers[-1] not in self._extremes():
            self._keep(range(len(self.numbers) - 1))  # It was kept only because it was the last.
        self.numbers.append(self.added)
        self.steps.append(step)
        self.rows.append(list(values))
        self.added += 1
        if len(self.numbers) >= MOST_POINTS:
            self.every *= 2
            known, last = self._extremes(), len(self.numbers) - 1
            self._keep([at for at, n in enumerate(self.numbers) if not n % self.every or n in known or at == last])

    def _extremes(self) -> set[int]:
        """Numbers of the points with the smallest and the largest value of a column."""
        found = set()
        for place in range(len(self.rows[0]) if self.rows else 0):
            values = self.column(place)
            found |= {self.numbers[values.index(extreme)] for extreme in (min(values), max(values))}
        return found

    def _keep(self, places: range | list[int]) -> None:
        for name in ("numbers", "steps", "rows"):
            column = getattr(self, name)
            setattr(self, name, [column[place] for place in places])

    def is_sound(self) -> bool:
        """Whether values that were read from a file can be those of points."""
        width = len(self.rows[0]) if self.rows else 0
        return (
            self.every >= 1
            and len(self.numbers) == len(self.steps) == len(self.rows) <= 2 * MOST_POINTS
            and self.numbers == sorted(set(self.numbers))
            and (not self.numbers or 0 <= self.numbers[0] <= self.numbers[-1] < self.added)
            and self.steps == sorted(self.steps)
            and all(map(math.isfinite, self.steps))
            and all(len(row) == width <= MOST_POINTS and all(map(math.isfinite, row)) for row in self.rows)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the points as plain values."""
        lists = {"numbers": list(self.numbers), "steps": list(self.steps), "rows": [list(row) for row in self.rows]}
        return {"every": self.every, "added": self.added} | lists
