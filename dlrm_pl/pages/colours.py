"""The colours of pages and figures, in light and in dark, by the names of their CSS variables."""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c2024",
    "muted": "#5c656f",
    "grid": "#dfe3e7",
    "soft": "#f4f6f8",
    "fp32": "#6d7781",
    "int8": "#0b6e8f",
    "good": "#1a6b3c",
    "bad": "#b3360b",
    "first": "#0b6e8f",
    "second": "#b3590b",
    "third": "#6a4fa3",
    "fourth": "#1a6b3c",
    "fifth": "#a33a6b",
    "sixth": "#6d7781",
}
"""Colours on white. Text has a contrast of at least 4.5 with ``paper``, and lines at least 3; ``grid`` and ``soft`` are
used for neither."""

DARK = {
    "paper": "#14171a",
    "ink": "#e6e9ec",
    "muted": "#9aa4ae",
    "grid": "#343a41",
    "soft": "#1d2125",
    "fp32": "#a3adb8",
    "int8": "#53c1e6",
    "good": "#63c98c",
    "bad": "#ff9466",
    "first": "#53c1e6",
    "second": "#f0a04b",
    "third": "#b49bea",
    "fourth": "#63c98c",
    "fifth": "#ee8bb5",
    "sixth": "#a3adb8",
}
"""Colours on near-black, with the same names and contrasts."""

SERIES = ("first", "second", "third", "fourth", "fifth", "sixth")
"""Colours of the lines and bars of a chart whose series have no colour of their own."""


def css(colours: dict[str, str]) -> str:
    """Return colours as CSS variables of the whole page.

    Example:
        >>> css({"ink": "#000000"})
        ':root{--ink:#000000}'
    """
    return ":root{" + ";".join(f"--{name}:{value}" for name, value in colours.items()) + "}"
