"""Builds a site from the pages in docs/ (``make docs``): MkDocs' hooks, generated pages, the theme."""
