"""A table of a page, as its template reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlrm_pl.pages.terms import Term

Cell = str | int | Term


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: what the table shows; "" where the heading above it says so.
        columns: headings; a table whose headings are all "" is drawn without any.
        rows: cells, as many in each as there are columns.
        of_facts: each row is another fact, so that the cells of a column are aligned left and have nothing in common.
    """

    caption: str
    columns: Sequence[str | Term]
    rows: Sequence[Sequence[Cell]]
    of_facts: bool = False

    @property
    def name(self) -> str:
        """Name of the table for screen readers."""
        return self.caption or ", ".join(filter(None, map(str, self.columns))) or "facts"

    @property
    def has_headings(self) -> bool:
        """Whether a column has a heading."""
        return any(map(str, self.columns))

    @property
    def column_kinds(self) -> list[str]:
        """CSS class of each column, that of its first cell; "" for the column of row names."""
        if self.of_facts:
            return [""] * len(self.columns)
        first = self.rows[0] if self.rows else ("",) * len(self.columns)
        return ["", *map(kind, first[1:])]


def fact_name(name: str) -> str:
    """Return the name of a fact of a machine in words; that of this program stays.

    Example:
        >>> fact_name("torch_cpu_capability"), fact_name("dlrm_pl")
        ('torch cpu capability', 'dlrm_pl')
    """
    return name if name == "dlrm_pl" else name.replace("_", " ")


def explanation(cell: Cell) -> str:
    """Return the explanation of a row's name, if it is a term, which its numbers show on hover as well."""
    return cell.words if isinstance(cell, Term) else ""


def kind(cell: Cell) -> str:
    """Return the CSS class of a cell: numbers align right, long texts may wrap, and a plain "no" stands out."""
    text = str(cell)
    if text == "no":
        return "bad"
    if len(text) > 30:
        return "words"
    return "number" if text[:1].isdigit() or text[:1] in ("+", "-") else ""
