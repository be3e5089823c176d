"""Web pages that commands write: one file each, which needs no network and runs no script.

A page of another folder is made like this:

- ``FOLDER/templates/NAME.html.jinja`` begins with ``{% extends "page.html.jinja" %}`` and fills the blocks ``title``,
  ``header`` and ``main``. ``{% from "parts.html.jinja" import details, drawing, table with context %}`` gives the
  macros for drawings, tables and parts that unfold. ``<section>`` elements in ``<div class="columns">`` stand beside
  each other where the screen is wide enough; one of the class ``wide`` takes the whole width, and the third of three
  gets the class ``spread``, so that its sections stand beside each other where there are two columns.
- ``render_page("dlrm_pl.FOLDER", "NAME.html.jinja", ...)`` of ``pages.page`` returns the page. Text of any origin is
  escaped. ``[tool.setuptools.package-data]`` of ``pyproject.toml`` has to name ``FOLDER/templates``.
- Tables are ``Table``s of ``pages.table``, with cells that are texts, numbers, or ``Term``s.
- A ``Term`` of ``pages.terms`` is a word with its explanation: it is shown on hover and by the keyboard, and at the end
  of the page, where the word links to. ``Terms`` are given to ``render_page``; those that the page uses are listed.
- Figures are drawn by ``pages.figures``: a ``Scale`` for each axis, a ``Chart`` of lines, points and bars, and
  ``figure`` that makes an ``<svg>`` of it. They take their colours from the page, in light and in dark:
  ``pages.colours`` has their names.

See ``dlrm_pl/artifact/report/`` for a whole page.
"""
