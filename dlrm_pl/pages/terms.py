"""Terms of a page with their explanations, shown on hover, by keyboard and at the end of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

_LINK = Markup(
    '<a class="term" href="#about-{place}" aria-describedby="about-{place}">{name}'
    '<span class="tip" role="tooltip">{words}</span></a>'
)


@dataclass(frozen=True)
class Term:
    """A word or the name of a number, with its explanation.

    In a template, it is a link to the explanation at the end of the page, which is also shown on hover and on focus.

    Attributes:
        name: name as written in a text or a table.
        words: explanation in one or two sentences.
        place: suffix of the explanation's HTML id; other names for the same term share it.
    """

    name: str
    words: str
    place: str

    def __str__(self) -> str:
        """The name alone."""
        return self.name

    def __html__(self) -> str:
        """Link to the explanation, which is shown on hover."""
        return _LINK.format(place=self.place, name=self.name, words=self.words)


class Terms:
    """Terms of a page; remembers those that were used, so that the page can list them.

    Args:
        explanations: explanations by name.

    Example:
        >>> terms = Terms({"log loss": "Mean negative log likelihood."})
        >>> str(terms["log loss"]), [term.name for term in terms.used]
        ('log loss', ['log loss'])
    """

    def __init__(self, explanations: Mapping[str, str]) -> None:
        self._explanations = explanations
        self._used: dict[str, Term] = {}

    def __getitem__(self, name: str) -> Term:
        """Return a term by its name.

        Raises:
            KeyError: the term has no explanation.
        """
        if name not in self._used:
            self._used[name] = Term(name, self._explanations[name], place_of(name))
        return self._used[name]

    def named(self, name: str, text: str) -> Term:
        """Return a term under another text, for example with a unit or in the plural."""
        term = self[name]
        return Term(text, term.words, term.place)

    def all(self, *names: str) -> Iterator[Term | str]:
        """Return terms for the headings of a table; names without an explanation, such as "", stay texts."""
        for name in names:
            yield self[name] if name in self._explanations else name

    def linked(self, text: str, *names: str) -> Markup:
        """Return a text as HTML in which the first mention of each name is a term.

        Args:
            text: any text; it is escaped.
            names: names of terms, as they occur in the text; names that do not occur are ignored.
        """
        pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        found, seen, end = Markup(), set[str](), 0
        for match in re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", text) if names else ():
            if match[0] not in seen:
                found += Markup("{}{}").format(text[end : match.start()], self[match[0]])
                seen.add(match[0])
                end = match.end()
        return found + Markup("{}").format(text[end:])

    @property
    def used(self) -> list[Term]:
        """Terms that were used, by name."""
        return sorted(self._used.values(), key=lambda term: term.name.lower())


def place_of(name: str) -> str:
    """Return a name as part of an HTML id: lower-case letters, digits and hyphens.

    Example:
        >>> place_of("AUROC drop (relative)")
        'auroc-drop-relative'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
