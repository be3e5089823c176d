"""Horizontal bars, each with its name on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlrm_pl.pages.figures import marks
from dlrm_pl.pages.figures.chart import LINE_HEIGHT, WIDTH, Legend, drawing
from dlrm_pl.pages.figures.marks import FONT_SIZE
from dlrm_pl.pages.figures.scale import Scale

_MOST_OF_A_NAME = 130.0


@dataclass(frozen=True)
class Bar:
    """A bar from zero.

    Attributes:
        value: value at the bar's end.
        colour: name of a colour.
        whisker: ends of a line across the bar's end.
        opacity: opacity of the colour, above 0.
    """

    value: float
    colour: str
    whisker: tuple[float, float] | None = None
    opacity: float = 1.0


@dataclass(frozen=True)
class NamedBars:
    """The bars of one name.

    Attributes:
        name: text on the left; long names are truncated.
        bars: the bars, one above the other.
        text: text at the right end of the longest bar.
        words: text shown while the pointer is over the bars; "" for the name.
        stacked: whether the bars are in one line, each beginning at the end of the previous one; their values must
            ascend.
    """

    name: str
    bars: Sequence[Bar]
    text: str = ""
    words: str = ""
    stacked: bool = False


def named_bars(
    description: str,
    rows: Sequence[NamedBars],
    scale: Scale,
    *,
    label: str,
    legend: Legend | None = None,
    thickness: float = 9.0,
    beside: Sequence[NamedBars] = (),
) -> str:
    """Draw bars on a scale that includes zero, as an ``<svg>`` element.

    Args:
        description: what the bars show, for screen readers.
        rows: names with their bars, from the top.
        scale: scale of the values.
        label: name of the axis, below it.
        legend: names of the colours.
        thickness: thickness of a bar.
        beside: rows of other figures with the same scale, so that equal values have bars of equal length in all.
    """
    names = [marks.shortened(row.name, _MOST_OF_A_NAME) for row in rows]
    left, right = _ends([*rows, *beside], scale)
    heights = [max((1 if row.stacked else len(row.bars)) * thickness + 5, LINE_HEIGHT - 1) for row in rows]
    bottom = sum(heights) + 4

    def at(value: float) -> float:
        return left + scale.at(value) * (right - left)

    found = []
    end = -1.0
    for value, tick in zip(scale.ticks, scale.labels, strict=True):
        found.append(marks.line(at(value), 0, at(value), bottom, "grid"))
        half = marks.text_width(tick) / 2
        if at(value) - half > end + 4:
            found.append(marks.text(at(value), bottom + LINE_HEIGHT - 1, tick, anchor="middle"))
            end = at(value) + half
    top = 2.0
    for row, name, height in zip(rows, names, heights, strict=True):
        drawn = [marks.text(left - 5, top + height / 2 + 3.5, name, anchor="end")]
        y, begin = top + (height - (1 if row.stacked else len(row.bars)) * thickness) / 2, 0.0
        for bar in row.bars:
            start, stop = sorted((at(begin), at(bar.value)))
            box = marks.box(start, y + 0.5, stop - start, thickness - 1, bar.colour, opacity=bar.opacity)
            drawn.append(box)
            if bar.whisker is not None:
                middle = y + thickness / 2
                drawn.append(marks.line(at(bar.whisker[0]), middle, at(bar.whisker[1]), middle, "ink"))
            begin, y = (bar.value, y) if row.stacked else (0.0, y + thickness)
        if row.text:
            longest = max(map(at, _reach(row)))
            drawn.append(marks.text(longest + 4, top + height / 2 + 3.5, row.text))
        found.append(marks.described(drawn, row.words or row.name))
        top += height
    found.append(marks.line(at(0.0), 0, at(0.0), bottom, "muted"))
    found.append(marks.text((left + right) / 2, bottom + 2 * LINE_HEIGHT - 1, label, anchor="middle", colour="muted"))
    above = ([], 0.0) if legend is None else legend.draw()
    return drawing(description, [above, (found, bottom + 2 * LINE_HEIGHT + FONT_SIZE / 2)])


def _ends(rows: Sequence[NamedBars], scale: Scale) -> tuple[float, float]:
    """Return where the axis begins and ends, so that the names at the left and the texts at the bars have room."""
    left = max(marks.text_width(marks.shortened(row.name, _MOST_OF_A_NAME)) for row in rows) + 8
    right = WIDTH - max(8.0, marks.text_width(scale.labels[-1]) / 2 if scale.labels else 0.0)
    for row in rows:
        end = scale.at(max(_reach(row))) if row.text else 0.0
        if end > 0:
            right = min(right, left + (WIDTH - marks.text_width(row.text) - 4 - left) / end)
    return left, right


def _reach(row: NamedBars) -> list[float]:
    """Return how far the bars of a name and their whiskers reach."""
    return [max(bar.value, bar.whisker[1] if bar.whisker else bar.value) for bar in row.bars]
