"""Reuse the attribute descriptions of a dataclass for functions that take its fields as arguments."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_SECTION = re.compile(r"^(?:Args|Attributes|Raises|Returns|Example|Source):.*$", re.MULTILINE)
_WIDTH = 120


def attribute_descriptions(documented: type) -> dict[str, str]:
    """Return the descriptions in the ``Attributes`` section of a class, by name, each on one line."""
    return {name: " ".join(text.split()) for name, text in _entries(_section(documented.__doc__, "Attributes")).items()}


def describes_arguments_by(*sources: type) -> Callable[[T], T]:
    """Decorate a function or class: complete its ``Args`` with the attribute descriptions of other classes.

    A setting that several functions and commands take is thus described only once, in the dataclass that has it as a
    field. The decorator changes the docstring, which ``help()`` and ``--help`` read.

    Args:
        sources: dataclasses with an ``Attributes`` section; each argument is described by the first of them that has
            its name.

    Example:
        >>> class Point:
        ...     '''A point.
        ...
        ...     Attributes:
        ...         x: distance to the left edge.
        ...     '''
        >>> @describes_arguments_by(Point)
        ... def draw(color, x):
        ...     '''Draw a point.
        ...
        ...     Args:
        ...         color: name of a color.
        ...     '''
        >>> print(inspect.getdoc(draw))
        Draw a point.
        <BLANKLINE>
        Args:
            color: name of a color.
            x: distance to the left edge.
    """

    def decorate(documented: T) -> T:
        if documented.__doc__ is None:  # python -OO removes docstrings.
            return documented
        text = inspect.cleandoc(documented.__doc__)
        section = _section(text, "Args")
        known = _entries(section)
        for source in reversed(sources):
            known = attribute_descriptions(source) | known
        called: Any = documented
        lines = [
            line
            for name in inspect.signature(called).parameters
            if name in known
            for line in _entry(name, " ".join(known[name].split()))
        ]
        documented.__doc__ = text.replace(section, "\n".join(lines))
        return documented

    return decorate


def _section(docstring: str | None, title: str) -> str:
    """Return the lines of a section without its title."""
    text = inspect.cleandoc(docstring or "")
    _, _, behind = text.partition(f"{title}:\n")
    end = _SECTION.search(behind)
    return (behind if end is None else behind[: end.start()]).rstrip("\n")


def _entries(section: str) -> dict[str, str]:
    """Return the entries of a section in Google's style, by name."""
    parts = re.split(r"^ {4}(\w+): ", f"\n{section}", flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _entry(name: str, description: str) -> list[str]:
    lines = textwrap.wrap(f"{name}: {description}", _WIDTH - 12, break_long_words=False, break_on_hyphens=False)
    return [f"    {lines[0]}", *(f"        {line}" for line in lines[1:])]
