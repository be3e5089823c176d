"""A table on a page, in the form that its template reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dlrm_pl.pages.terms import Term

Cell = str | int | Term

_NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?x?(?!\w)")
_MOST_UNWRAPPED = 30
"""Number of characters above which a cell may wrap."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: what the table shows; "" if the heading above it says so.
        columns: headings; a table whose headings are all "" is drawn without any.
        rows: cells of each row, one for each column.
        of_facts: whether each row states a different fact: then long cells may wrap, and numbers are aligned left too.
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
        """Whether any column has a heading."""
        return any(map(str, self.columns))

    @cached_property
    def column_kinds(self) -> list[str]:
        """CSS class of each heading: "number" above a column of numbers, which are aligned right; else "".

        All cells of a column have the same alignment. Words without a digit, such as "unknown", may occur among
        numbers; a column with any other text is not a column of numbers.
        """
        columns = [[str(row[place]) for row in self.rows] for place in range(1, len(self.columns))]
        return ["", *("number" if not self.of_facts and _are_numbers(cells) else "" for cells in columns)]

    def cell_kinds(self, row: Sequence[Cell]) -> list[str]:
        """Return the CSS class of each cell of a row: its column's; long texts may wrap; a plain "no" stands out."""
        return [_kind(str(cell)) or column for cell, column in zip(row, self.column_kinds, strict=True)]


def fact_name(name: str) -> str:
    """Return the name of a fact about a machine in words; this program's name is kept.

    Example:
        >>> fact_name("torch_cpu_capability"), fact_name("dlrm_pl")
        ('torch cpu capability', 'dlrm_pl')
    """
    return name if name == "dlrm_pl" else name.replace("_", " ")


def explanation(cell: Cell) -> str:
    """Return the explanation of a row's name if it is a term; its numbers show it on hover as well."""
    return cell.words if isinstance(cell, Term) else ""


def _kind(text: str) -> str:
    return "bad" if text == "no" else "words" if len(text) > _MOST_UNWRAPPED else ""


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether the cells of a column are numbers, with units or not, of which some may be words such as "unknown"."""
    known = [cell for cell in cells if any(map(str.isdigit, cell))]
    return bool(known) and all(map(_NUMBER.match, known))
