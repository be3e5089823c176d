"""A chart with two axes: lines, points with whiskers, vertical bars and areas; and the figure made of charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from dlrm_pl.pages.figures import marks
from dlrm_pl.pages.figures.marks import FONT_SIZE, Shape
from dlrm_pl.pages.figures.scale import Scale

WIDTH = 380.0
"""Width of a figure in its own units: about that of a phone in pixels, so that text has nearly its nominal size there.
"""

LINE_HEIGHT = FONT_SIZE + 5
"""Distance between the baselines of two lines of text."""

Swatch = Literal["box", "hollow", "area", "line", "dashed"] | Shape


class Legend:
    """Names of what a figure shows, in rows above it."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Swatch, str, bool, float]] = {}

    def add(self, name: str, swatch: Swatch, colour: str, *, hollow: bool = False, opacity: float = 1.0) -> None:
        """Name a mark; a repeated name counts once."""
        if name:
            self._entries.setdefault(name, (swatch, colour, hollow, opacity))

    def draw(self) -> tuple[list[str], float]:
        """Return the marks and their height."""
        found: list[str] = []
        x, y = 0.0, FONT_SIZE
        for name, (swatch, colour, hollow, opacity) in self._entries.items():
            width = 17 + marks.text_width(name) + 7
            if x and x + width - 7 > WIDTH:
                x, y = 0.0, y + LINE_HEIGHT
            found += [_swatch(x, y - 4, swatch, colour, hollow, opacity), marks.text(x + 17, y, name)]
            x += width
        return found, y + 8 if found else 0.0


class Chart:
    """A chart; marks are drawn in the order of the calls.

    Args:
        x: horizontal scale.
        y: vertical scale.
        height: height of the plot area, in units.
        x_label: name of the horizontal axis, below it.
        y_label: name of the vertical axis, above it.
        grid_x: draw a line at each horizontal tick.
        left: minimum room for the labels of the vertical axis, so that charts above each other can be aligned.

    Example:
        >>> chart = Chart(Scale.linear([0, 100]), Scale.linear([0.1, 0.5]), x_label="step", y_label="log loss")
        >>> chart.line([(0, 0.5), (50, 0.2), (100, 0.1)], "int8", name="train")
        >>> figure("The log loss falls from 0.5 to 0.1.", [chart]).startswith("<svg")
        True
    """

    def __init__(
        self,
        x: Scale,
        y: Scale,
        *,
        height: float = 170.0,
        x_label: str = "",
        y_label: str = "",
        grid_x: bool = True,
        left: float = 0.0,
    ) -> None:
        self.x, self.y = x, y
        self.legend = Legend()
        self._labels = (x_label, y_label)
        self._height = height
        self._grid_x = grid_x
        self._left = max(left, room_for(y))
        self._right = WIDTH - max(8.0, marks.text_width(x.labels[-1]) / 2 if x.labels else 0.0)
        self._top = LINE_HEIGHT + 4 if y_label else 6.0
        self._marks: list[str] = []

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the coordinates of a pair of values; infinite ones are placed at the end of their axis."""
        bottom = self._top + self._height
        return (
            self._left + self.x.at(x) * (self._right - self._left),
            bottom - self.y.at(y) * self._height,
        )

    def line(
        self,
        points: Iterable[tuple[float, float]],
        colour: str,
        *,
        name: str = "",
        words: str = "",
        width: float = 1.5,
        dashed: bool = False,
    ) -> None:
        """Draw a line through pairs of values; a value that is not a number interrupts it.

        Args:
            points: pairs of values.
            colour: name of a colour.
            name: name in the legend; "" for none.
            words: text shown while the pointer is over the line; "" for its name.
            width: width of the line.
            dashed: whether it is dashed.
        """
        parts: list[list[tuple[float, float]]] = [[]]
        for x, y in points:
            if math.isnan(x) or math.isnan(y):
                parts.append([])
            else:
                parts[-1].append(self.place(x, y))
        drawn = [marks.polyline(part, colour, width=width, dashed=dashed) for part in parts if len(part) > 1]
        drawn += [marks.marker(*part[0], "circle", colour, size=width) for part in parts if len(part) == 1]
        self._add(drawn, words or name)
        self.legend.add(name, "dashed" if dashed else "line", colour)

    def area(
        self, points: Sequence[tuple[float, float]], colour: str, *, name: str = "", words: str = "", base: float = 0.0
    ) -> None:
        """Fill the area between pairs of values and a value of the vertical axis."""
        if points:
            outline = [(points[0][0], base), *points, (points[-1][0], base)]
            placed = [self.place(*point) for point in outline]
            self._add([marks.polyline(placed, colour, fill=True)], words or name)
        self.legend.add(name, "area", colour)

    def point(
        self,
        x: float,
        y: float,
        colour: str,
        *,
        shape: Shape = "circle",
        hollow: bool = False,
        size: float = 3.5,
        x_range: tuple[float, float] | None = None,
        y_range: tuple[float, float] | None = None,
        name: str = "",
        words: str = "",
    ) -> None:
        """Draw a point, with whiskers for its ranges.

        Args:
            x: value on the horizontal axis.
            y: value on the vertical axis.
            colour: name of a colour.
            shape: shape of the marker.
            hollow: draw only an outline.
            size: half of the marker's width.
            x_range: ends of a horizontal whisker.
            y_range: ends of a vertical whisker.
            name: name in the legend; "" for none.
            words: text shown while the pointer is over the point.
        """
        drawn = []
        if x_range is not None:
            (low, at), (high, _) = self.place(x_range[0], y), self.place(x_range[1], y)
            drawn.append(marks.line(low, at, high, at, colour))
        if y_range is not None:
            (at, low), (_, high) = self.place(x, y_range[0]), self.place(x, y_range[1])
            drawn.append(marks.line(at, low, at, high, colour))
        drawn.append(marks.marker(*self.place(x, y), shape, colour, size=size, hollow=hollow))
        self._add(drawn, words)
        self.legend.add(name, shape, colour, hollow=hollow)

    def bar(
        self,
        x: float,
        width: float,
        value: float,
        colour: str,
        *,
        hollow: bool = False,
        y_range: tuple[float, float] | None = None,
        name: str = "",
        words: str = "",
    ) -> None:
        """Draw a vertical bar from zero.

        Args:
            x: value at the bar's middle on the horizontal axis.
            width: width of the bar, in values of the same axis.
            value: value at the bar's end on the vertical axis.
            colour: name of a colour.
            hollow: draw only an outline.
            y_range: ends of a whisker.
            name: name in the legend; "" for none.
            words: text shown while the pointer is over the bar.
        """
        (left, base), (right, end) = self.place(x - width / 2, 0.0), self.place(x + width / 2, value)
        drawn = [marks.box(left, min(base, end), right - left, abs(base - end), colour, hollow=hollow)]
        if y_range is not None:
            (at, low), (_, high) = self.place(x, y_range[0]), self.place(x, y_range[1])
            drawn.append(marks.line(at, low, at, high, "ink"))
        self._add(drawn, words)
        self.legend.add(name, "hollow" if hollow else "box", colour)

    def across(self, value: float, colour: str = "muted", *, name: str = "", words: str = "") -> None:
        """Draw a dashed horizontal line at a value of the vertical axis."""
        self.line([(self.x.low, value), (self.x.high, value)], colour, name=name, words=words, width=1, dashed=True)

    def upright(self, value: float, colour: str = "muted", *, name: str = "", words: str = "") -> None:
        """Draw a dashed vertical line at a value of the horizontal axis."""
        self.line([(value, self.y.low), (value, self.y.high)], colour, name=name, words=words, width=1, dashed=True)

    def draw(self) -> tuple[list[str], float]:
        """Return the marks without the legend, and their height."""
        bottom = self._top + self._height
        x_label, y_label = self._labels
        found = []
        for value, label in zip(self.y.ticks, self.y.labels, strict=True):
            _, y = self.place(self.x.low, value)
            found += [
                marks.line(self._left, y, self._right, y, "grid"),
                marks.text(self._left - 5, y + 4, label, anchor="end"),
            ]
        for (value, label), shown in zip(
            zip(self.x.ticks, self.x.labels, strict=True), self._room_for_labels(), strict=True
        ):
            x, _ = self.place(value, self.y.low)
            if self._grid_x:
                found.append(marks.line(x, self._top, x, bottom, "grid"))
            if shown:
                found.append(marks.text(x, bottom + LINE_HEIGHT - 1, label, anchor="middle"))
        found.append(marks.line(self._left, bottom, self._right, bottom, "muted"))
        if y_label:
            found.append(marks.text(0, FONT_SIZE, y_label, colour="muted"))
        height = bottom + (LINE_HEIGHT + 3 if self.x.labels else 3)
        if x_label:
            height += LINE_HEIGHT
            middle = (self._left + self._right) / 2
            found.append(marks.text(middle, height - 5, x_label, anchor="middle", colour="muted"))
        return found + self._marks, height

    def _room_for_labels(self) -> list[bool]:
        """Return which labels of the horizontal axis are drawn: all that do not touch the one before."""
        shown, end = [], -math.inf
        for value, label in zip(self.x.ticks, self.x.labels, strict=True):
            middle, half = self.place(value, self.y.low)[0], marks.text_width(label) / 2
            shown.append(middle - half > end + 4)
            end = middle + half if shown[-1] else end
        return shown

    def _add(self, drawn: Sequence[str], words: str) -> None:
        self._marks += [marks.described(drawn, words)] if words else drawn


def room_for(y: Scale) -> float:
    """Return the width that the labels of a vertical axis need."""
    return max(map(marks.text_width, y.labels), default=0.0) + 8


def figure(description: str, charts: Sequence[Chart], *, legend: Legend | None = None) -> str:
    """Return charts, one above the other, as an ``<svg>`` element.

    Args:
        description: what the charts show, for screen readers.
        charts: the charts, from the top.
        legend: names of the marks, above the first chart; None: the first chart's own legend.
    """
    named = charts[0].legend if legend is None else legend
    return drawing(description, [named.draw(), *(chart.draw() for chart in charts)])


def drawing(description: str, parts: Iterable[tuple[Sequence[str], float]]) -> str:
    """Return parts of a drawing, one above the other, as an ``<svg>`` element.

    Args:
        description: what the drawing shows, for screen readers.
        parts: marks and height of each part, from the top.
    """
    body, height = "", 0.0
    for drawn, part_height in parts:
        if drawn:
            body += f'<g transform="translate(0 {marks.number(height)})">{"".join(drawn)}</g>'
            height += part_height
    return (
        f'<svg role="img" aria-label="{escape(description)}" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {WIDTH:g} {marks.number(height + 2)}" fill="var(--ink)" font-size="{FONT_SIZE:g}">{body}</svg>'
    )


def _swatch(x: float, y: float, swatch: Swatch, colour: str, hollow: bool, opacity: float) -> str:
    if swatch in ("line", "dashed"):
        return marks.line(x, y, x + 14, y, colour, width=1.5, dashed=swatch == "dashed")
    if swatch in ("box", "hollow", "area"):
        opacity = 0.4 if swatch == "area" else opacity
        return marks.box(x + 2, y - 5, 11, 10, colour, hollow=swatch == "hollow", opacity=opacity)
    return marks.marker(x + 8, y, swatch, colour, hollow=hollow)  # type: ignore[arg-type]
