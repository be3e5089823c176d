"""Page figures as a PNG file: the same drawings, in their light colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.pages.colours import LIGHT
from dlrm_pl.pages.figures.chart import WIDTH
from dlrm_pl.pages.figures.marks import FONT_SIZE

_SCALE = 2.25
"""Pixels per unit: text is as large as on a page on a high-resolution screen."""

_MARGIN, _GAP = 12.0, 26.0
_TITLE, _NOTE = 15.0, 9.0
_DPI = 72.0  # One point is one pixel.
_SVG = "{http://www.w3.org/2000/svg}"
_STEP = re.compile(r"([MLHVZmlhvz])([^MLHVZmlhvz]*)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def write_png(path: Path, figures: Sequence[str], *, title: str = "", note: str = "", columns: int = 1) -> None:
    """Write figures next to and below each other as a PNG, whole or not at all.

    Args:
        path: file to write.
        figures: ``<svg>`` elements made with this folder.
        title: title above the figures.
        note: small text below the title; may have several lines.
        columns: number of columns; each figure goes to the column that is the shortest so far.

    Raises:
        OutputError: the file cannot be written.
    """
    parsed = [ElementTree.fromstring(figure) for figure in figures]
    lines = [(title, _TITLE, "ink")] if title else []
    lines += [(line, _NOTE, "muted") for line in note.splitlines()]
    head = sum(1.45 * size for _, size, _ in lines) + (_GAP / 2 if lines else 0.0)
    columns = max(1, min(columns, len(parsed)))
    ends = [_MARGIN + head] * columns
    places = []
    for svg in parsed:
        column = ends.index(min(ends))
        places.append((_MARGIN + column * (WIDTH + _GAP), ends[column]))
        ends[column] += _height(svg) + _GAP
    width = 2 * _MARGIN + columns * WIDTH + (columns - 1) * _GAP
    height = max(ends) - _GAP + _MARGIN
    made = Figure(figsize=(width * _SCALE / _DPI, height * _SCALE / _DPI), dpi=_DPI, facecolor=LIGHT["paper"])
    axes = made.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    y = _MARGIN
    for line, size, colour in lines:
        y += 1.15 * size
        _write(axes, _MARGIN, y, line, size, colour=LIGHT[colour])
        y += 0.3 * size
    for svg, (left, top) in zip(parsed, places, strict=True):
        _draw(axes, svg, left, top)
    with atomic_file(path, "wb") as handle:
        made.savefig(handle, format="png", dpi=_DPI, metadata={"Software": None})


def _height(svg: ElementTree.Element) -> float:
    return float(svg.attrib["viewBox"].split()[3])


def _draw(axes: Axes, element: ElementTree.Element, left: float, top: float) -> None:
    """Draw the contents of an element, shifted to the right and down."""
    # add_patch would also update the axes' limits, which are fixed; that takes a quarter of a picture's time.
    for child in element:
        kind = child.tag.removeprefix(_SVG)
        value = child.attrib.get
        if kind == "g":
            x, y = _numbers(value("transform", "0 0"))
            _draw(axes, child, left + x, top + y)
        elif kind == "text":
            anchors = {"start": "left", "middle": "center", "end": "right"}
            _write(
                axes,
                left + float(value("x", "0")),
                top + float(value("y", "0")),
                child.text or "",
                FONT_SIZE,
                colour=_colour(value("fill", "var(--ink)")),
                align=anchors[value("text-anchor", "start")],
                bold=value("font-weight") is not None,
            )
        elif kind == "path":
            axes.add_artist(PathPatch(_outline(value("d", ""), left, top), **_look(child)))
        elif kind == "rect":
            place = (left + float(value("x", "0")), top + float(value("y", "0")))
            axes.add_artist(Rectangle(place, float(value("width", "0")), float(value("height", "0")), **_look(child)))
        elif kind == "circle":
            place = (left + float(value("cx", "0")), top + float(value("cy", "0")))
            axes.add_artist(Circle(place, float(value("r", "0")), **_look(child)))


def _look(element: ElementTree.Element) -> dict[str, Any]:
    """Return the fill and stroke of a shape as arguments of matplotlib's patches."""
    value = element.attrib.get
    line = value("stroke")
    # SVG's default fill is black, but elements without a fill are lines, which have no area.
    filling = value("fill", "none")
    return {
        "facecolor": (*_rgb(filling), float(value("fill-opacity", "1"))) if filling != "none" else "none",
        "edgecolor": "none" if line is None else _colour(line),
        "linewidth": 0.0 if line is None else float(value("stroke-width", "1")) * _SCALE,
        "linestyle": (0, tuple(_numbers(dashes))) if (dashes := value("stroke-dasharray")) else "-",
        "capstyle": "butt",
        "clip_on": False,
    }


def _outline(steps: str, left: float, top: float) -> Outline:
    """Return a path of straight lines."""
    points: list[tuple[float, float]] = []
    codes: list[int] = []
    x, y = 0.0, 0.0
    start = (0.0, 0.0)
    for command, text in _STEP.findall(steps):
        moves, found = command.islower(), _numbers(text)
        if command in "Zz":
            points.append(start)
            codes.append(int(Outline.CLOSEPOLY))
            continue
        pairs = list(zip(found[::2], found[1::2], strict=True)) if command in "MLml" else [(n, n) for n in found]
        for number, (to_x, to_y) in enumerate(pairs):
            x = x if command in "Vv" else x + to_x if moves else to_x
            y = y if command in "Hh" else y + to_y if moves else to_y
            begins = command in "Mm" and not number
            points.append((left + x, top + y))
            codes.append(int(Outline.MOVETO if begins else Outline.LINETO))
            start = points[-1] if begins else start
    return Outline(points, codes)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def _colour(value: str) -> str:
    return LIGHT[value.removeprefix("var(--").removesuffix(")")]


def _rgb(value: str) -> tuple[float, float, float]:
    digits = _colour(value).removeprefix("#")
    red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def _write(
    axes: Axes, x: float, y: float, words: str, size: float, *, colour: str, align: str = "left", bold: bool = False
) -> None:
    # Do not parse mathematics, which a dollar sign in a column name would begin.
    look: dict[str, Any] = {
        "ha": align,
        "va": "baseline",
        "fontweight": "bold" if bold else "normal",
        "parse_math": False,
    }
    axes.text(x, y, words, fontsize=size * _SCALE * 0.92, color=colour, clip_on=False, **look)
