"""Web pages that commands write: one file each, which needs no network and runs no script.

To make a page in another folder:

- ``FOLDER/templates/NAME.html.jinja`` begins with ``{% extends "page.html.jinja" %}`` and fills the blocks ``title``,
  ``header`` and ``main``. ``{% from "parts.html.jinja" import details, drawing, table with context %}`` gives the
  macros for drawings, tables and collapsible parts. ``<section>`` elements in ``<div class="columns">`` are placed side
  by side if the screen is wide enough. One with the class ``wide`` takes the whole width, and the third of three gets
  the class ``spread``, so that its own sections are side by side if there are two columns.
- ``render_page("dlrm_pl.FOLDER", "NAME.html.jinja", ...)`` of ``pages.page`` returns the page. All text is escaped.
  ``[tool.setuptools.package-data]`` in ``pyproject.toml`` has to name ``FOLDER/templates``.
- Tables are instances of ``Table`` from ``pages.table``; their cells are strings, numbers or ``Term``s.
- A ``Term`` from ``pages.terms`` is a word with an explanation, which is shown on hover, on keyboard focus, and at the
  end of the page, where the word links to. ``Terms`` are passed to ``render_page``; the page lists those that it uses.
- Figures are drawn with ``pages.figures``: a ``Scale`` for each axis, a ``Chart`` of lines, points and bars, and
  ``figure``, which turns it into an ``<svg>`` element. They take their colours from the page, in light and dark mode;
  ``pages.colours`` has their names.

See ``dlrm_pl/artifact/report/`` for a complete page.
"""
