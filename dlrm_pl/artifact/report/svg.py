"""A matplotlib figure as inline SVG that takes its colours and its font from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, GRID, FP32, INT8, GOOD, BAD = (f"#0{n}0{n}0{n}" for n in range(1, 8))
"""What a figure is drawn in; the page says what these look like, in light and in dark."""

VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", FP32: "fp32", INT8: "int8", GOOD: "good", BAD: "bad"}
"""Names of the page's CSS variables for them."""

WIDTH = 5.0
"""Inches of 72 units: about a phone's width, so that text there has the size it is drawn in."""

_STYLE = {
    "svg.fonttype": "none",  # Text as text: it can be read aloud, searched and enlarged.
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.color": MUTED,
}


def draw(name: str, height: float, draw_on: Callable[[Figure], None], description: str) -> str:
    """Draw a figure and return it as an ``<svg>`` element.

    Args:
        name: unique in the page: ids inside the SVG begin differently for each.
        height: in inches.
        draw_on: draws.
        description: description of the figure for screen readers.
    """
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw_on(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # The same in every figure, and nothing refers to them.
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None  # matplotlib writes one.
    body = text[text.index(">") + 1 :]
    head = f'<svg role="img" aria-labelledby="{name}-words" xmlns="http://www.w3.org/2000/svg" '
    head += f'xmlns:xlink="http://www.w3.org/1999/xlink" {view[0]}>'
    return f'{head}<title id="{name}-words">{escape(description)}</title>{body}'
