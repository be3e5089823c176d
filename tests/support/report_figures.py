"""Reports with and without their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape

from dlrm_pl.artifact.report import figures, svg


@contextmanager
def figures_drawn() -> Iterator[None]:
    """Draw the figures of reports that are written meanwhile, as a user's are."""
    with _drawing(svg.draw):
        yield


@contextmanager
def figures_left_out() -> Iterator[None]:
    """Write reports without what their figures show."""
    with _drawing(lambda name, height, draw_on, description: f"<svg><title>{escape(description)}</title></svg>"):
        yield


@contextmanager
def _drawing(draw: Callable[..., str]) -> Iterator[None]:
    before, figures.draw = figures.draw, draw
    try:
        yield
    finally:
        figures.draw = before
