"""Parts of a page that `inspect --plot` makes of anything, before it becomes HTML or PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from dlrm_pl.pages.table import Table
from dlrm_pl.pages.terms import Term, Terms


@dataclass(frozen=True)
class Drawn:
    """A figure with its caption.

    Attributes:
        svg: ``<svg>`` element.
        caption: text below it.
    """

    svg: str
    caption: str

    @property
    def markup(self) -> Markup:
        """Element for a template, which only this program makes, with all texts escaped."""
        return Markup(self.svg)


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        heading: its heading.
        words: sentences below the heading; terms in them link to their explanations.
        figures: its figures.
        tables: tables that are always shown.
        folded: collapsible tables, by their names.
    """

    heading: str
    words: Sequence[Sequence[str | Term]] = ()
    figures: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    folded: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Portrait:
    """Everything to be shown about a dataset, an artifact or a checkpoint.

    Attributes:
        title: title of the page.
        lead: one sentence with the most important fact.
        warnings: problems, if there are any.
        sections: the sections, in order.
        terms: explanations of terms used in the sections.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    terms: Terms = field(default_factory=lambda: Terms({}))

    @property
    def figures(self) -> list[str]:
        """All figures in order."""
        return [drawn.svg for section in self.sections for drawn in section.figures]
