"""Map values to positions on an axis, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dlrm_pl.files.sizes import format_bytes

Form = Callable[[float], str]
"""Formats the value of a tick."""


_LEAST = 1e-200


@dataclass(frozen=True)
class Scale:
    """The range of an axis and its ticks.

    Attributes:
        low: value at the beginning, which is on the left or at the bottom.
        high: value at the end.
        ticks: labelled values, within the range.
        labels: text of each tick.
        logarithmic: whether equal distances are equal ratios.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the position of a value: 0 at the beginning, 1 at the end, clamped to these.

        Example:
            >>> Scale(0.0, 10.0, (), ()).at(2.5), Scale(1.0, 100.0, (), (), logarithmic=True).at(10.0)
            (0.25, 0.5)
        """
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else 0.0
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    @classmethod
    def linear(
        cls,
        values: Iterable[float],
        *,
        zero: bool = False,
        room: float = 0.05,
        count: int = 6,
        whole: bool = False,
        form: Form | None = None,
    ) -> Scale:
        """Return a linear scale that includes all finite values.

        Args:
            values: values to draw.
            zero: include zero, where bars start: the axis begins there, or ends there if all values are negative.
            room: share of the range that is left free at each end, except at zero if ``zero`` is set.
            count: approximate number of ticks.
            whole: ticks are whole numbers.
            form: formats the ticks; None: with as many decimals as their distance has, and with k and M.
        """
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
        largest = max(abs(low), abs(high))
        if high - low <= max(1e-9 * largest, _LEAST):  # Floats have too few digits for ticks between values this close.
            spread = largest / 2 if largest > _LEAST else 1.0
            low, high = (0.0 if zero and low == 0 else low - spread), high + spread
        margin = room * (high - low)
        low -= 0.0 if zero and low == 0 else margin
        high += 0.0 if zero and high == 0 else margin
        step = round_step((high - low) / count, whole=whole)
        rounding = 1e-9 * (high - low)
        first, last = math.ceil((low - rounding) / step), math.floor((high + rounding) / step)
        ticks = tuple(number * step for number in range(first, last + 1))
        return cls(low, high, ticks, tuple(map(form or decimals_of(step), ticks)))

    @classmethod
    def log(cls, values: Iterable[float], *, room: float = 0.05, form: Form | None = None) -> Scale:
        """Return a logarithmic scale that includes all positive values; its ticks are powers of ten, or 1, 2 and 5.

        Args:
            values: values to draw.
            room: share of the range that is left free at each end.
            form: formats the ticks; None: with k and M.
        """
        known = [value for value in values if 0 < value < math.inf] or [1.0]
        low, high = min(known), max(known)
        margin = (high / low) ** room if high > low else 2.0
        low, high = low / margin, high * margin
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        decades = [10.0**power for power in powers if low <= 10.0**power <= high]
        if len(decades) > 6:
            decades = decades[:: math.ceil(len(decades) / 6)]
        elif len(decades) < 3:
            decades = [f * 10.0**p for p in powers for f in (1, 2, 5) if low <= f * 10.0**p <= high]
        return cls(low, high, tuple(decades), tuple(map(form or short, decades)), logarithmic=True)

    @classmethod
    def of_bytes(cls, largest: float, *, room: float = 0.0) -> Scale:
        """Return a linear scale of bytes from zero, with ticks in whole binary units.

        Args:
            largest: value of the longest bar.
            room: share of this value that is left free for text at the end.
        """
        largest = max(largest, 4.0)
        step = 2.0 ** math.ceil(math.log2(largest / 4))
        ticks = tuple(number * step for number in range(math.floor(largest / step) + 1))
        return cls(0.0, (1 + room) * largest, ticks, tuple(map(format_bytes, ticks)))


def round_step(at_least: float, *, whole: bool = False) -> float:
    """Return the smallest step of 1, 2 or 5 times a power of ten that is not below a value.

    Example:
        >>> round_step(0.0033), round_step(0.2, whole=True)
        (0.005, 1.0)
    """
    power = 10.0 ** math.floor(math.log10(at_least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= at_least * (1 - 1e-9))
    return max(step, 1.0) if whole else step


def decimals_of(step: float) -> Form:
    """Return a function that formats values with the decimals of a step, or in short form if it is 1,000 or more.

    Example:
        >>> decimals_of(0.05)(0.1), decimals_of(2000)(4000)
        ('0.10', '4 k')
    """
    if step >= 1000:
        return short
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return lambda value: f"{0.0 if abs(value) < step / 2 else value:,.{digits}f}"


def short(value: float) -> str:
    """Format a number with k, M or G.

    Example:
        >>> short(12500), short(0.5), short(3e6)
        ('12.5 k', '0.5', '3 M')
    """
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g} {name}"
    return f"{value:.4g}"


def percent(value: float) -> str:
    """Format a share in percent, with as many digits as it has.

    Example:
        >>> percent(0.0005), percent(0.25)
        ('0.05%', '25%')
    """
    return f"{100 * value:.10g}%"
