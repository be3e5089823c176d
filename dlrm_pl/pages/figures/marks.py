"""Marks of a figure: SVG elements as text. A colour is the name of one of ``pages.colours``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

FONT_SIZE = 11.0
"""Font size of all text, in units of a figure."""

_MEAN_WIDTH = 0.6 * FONT_SIZE
"""Slightly wider than in most fonts, so that texts stay apart from each other and inside the figure."""
_DASHES = ' stroke-dasharray="4 3"'

Shape = Literal["circle", "ring", "cross", "square", "diamond"]


def number(value: float) -> str:
    """Format a coordinate with at most one decimal.

    Example:
        >>> number(12.04), number(-0.04), number(7)
        ('12', '0', '7')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def line(x: float, y: float, to_x: float, to_y: float, colour: str, *, width: float = 1.0, dashed: bool = False) -> str:
    """Draw a straight line."""
    path = f"M{number(x)} {number(y)}L{number(to_x)} {number(to_y)}"
    if y == to_y:
        path = f"M{number(x)} {number(y)}H{number(to_x)}"
    elif x == to_x:
        path = f"M{number(x)} {number(y)}V{number(to_y)}"
    return f'<path d="{path}" stroke="var(--{colour})" stroke-width="{width:g}"{_DASHES if dashed else ""}/>'


def polyline(
    points: Sequence[tuple[float, float]], colour: str, *, width: float = 1.5, dashed: bool = False, fill: bool = False
) -> str:
    """Draw a line through points, or fill the area that they enclose."""
    if not points:
        return ""
    path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
    if fill:
        return f'<path d="{path}Z" fill="var(--{colour})" fill-opacity="0.4"/>'
    dashes = _DASHES if dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="var(--{colour})" stroke-width="{width:g}" stroke-linejoin="round"'
        f"{dashes}/>"
    )


def box(
    x: float, y: float, width: float, height: float, colour: str, *, hollow: bool = False, opacity: float = 1.0
) -> str:
    """Draw a rectangle, filled or as an outline."""
    if hollow:
        x, y, width, height = x + 0.6, y + 0.6, max(width - 1.2, 0.0), max(height - 1.2, 0.0)
        look = f'fill="none" stroke="var(--{colour})" stroke-width="1.2"'
    else:
        look = f'fill="var(--{colour})"'
    if opacity != 1.0:
        look += f' fill-opacity="{opacity:g}"'
    return f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" {look}/>'


def marker(x: float, y: float, shape: Shape, colour: str, *, size: float = 3.5, hollow: bool = False) -> str:
    """Draw a marker around a point; ``size`` is half of its width."""
    if shape == "cross":
        path = f"M{number(x - size)} {number(y - size)}l{number(2 * size)} {number(2 * size)}"
        path += f"m0 {number(-2 * size)}l{number(-2 * size)} {number(2 * size)}"
        width = 1.2 if hollow else 2.2
        return f'<path d="{path}" stroke="var(--{colour})" stroke-width="{width:g}"/>'
    look = f'fill="var(--{colour})"'
    if hollow or shape == "ring":
        look = f'fill="none" stroke="var(--{colour})" stroke-width="1.2"'
    if shape in ("circle", "ring"):
        return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(size)}" {look}/>'
    if shape == "diamond":
        path = f"M{number(x)} {number(y - size)}l{number(size)} {number(size)}l{number(-size)} {number(size)}"
        return f'<path d="{path}l{number(-size)} {number(-size)}Z" {look}/>'
    return (
        f'<rect x="{number(x - size)}" y="{number(y - size)}" width="{number(2 * size)}" height="{number(2 * size)}" '
        f"{look}/>"
    )


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: Literal["start", "middle", "end"] = "start",
    colour: str = "ink",
    bold: bool = False,
) -> str:
    """Draw text that starts, is centred or ends at a point on its baseline."""
    look = "" if anchor == "start" else f' text-anchor="{anchor}"'
    look += "" if colour == "ink" else f' fill="var(--{colour})"'
    look += ' font-weight="600"' if bold else ""
    return f'<text x="{number(x)}" y="{number(y)}"{look}>{escape(words)}</text>'


def described(marks: Iterable[str], words: str) -> str:
    """Group marks, with a text that is shown while the pointer is over them."""
    return f"<g><title>{escape(words)}</title>{''.join(marks)}</g>"


def text_width(words: str) -> float:
    """Estimate the width of a text; fonts differ."""
    return _MEAN_WIDTH * len(words)


def shortened(words: str, width: float) -> str:
    """Truncate a text to about a given width, with an ellipsis at its end.

    Example:
        >>> shortened("bottom_mlp.0", 200), shortened("a_column_with_a_long_name", 60)
        ('bottom_mlp.0', 'a_column_…')
    """
    most = max(int(width / _MEAN_WIDTH), 2)
    return words if len(words) <= most else words[: most - 1] + "…"
