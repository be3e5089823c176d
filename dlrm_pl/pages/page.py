"""Render a page from its template: the environment with the shared parts, and the filters."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dlrm_pl.pages.colours import DARK, LIGHT, css
from dlrm_pl.pages.table import explanation
from dlrm_pl.pages.terms import Terms


def render_page(package: str, template: str, *, terms: Terms, **values: Any) -> str:
    """Render a page.

    The template escapes all text; only drawings, which this program makes, are inserted as markup.

    Args:
        package: name of the Python package with the template in its folder ``templates``.
        template: name of the template, which extends ``page.html.jinja``.
        terms: the page's terms; those that it uses are explained at its end.
        values: variables of the template.

    Returns:
        The page as HTML.
    """
    return environment(package).get_template(template).render(terms=terms, **values)


def environment(package: str) -> Environment:
    """Make the environment for a package's templates and those in this folder; a missing value is an error."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("dlrm_pl.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "sentence": sentence,
        "number": lambda value: f"{value:,}",
        "percent": lambda value: f"{value:.1%}",
        "explanation": explanation,
        "class": lambda kind: Markup(' class="{}"').format(kind) if kind else "",
    }
    made.globals |= {"light": Markup(css(LIGHT)), "dark": Markup(css(DARK))}
    return made


def sentence(text: str) -> str:
    """Make a text begin with a capital and end with a full stop.

    Example:
        >>> sentence("the drop is small")
        'The drop is small.'
    """
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text else ""
