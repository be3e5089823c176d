"""What makes a site of the pages in docs/: MkDocs' hooks, generated pages, the theme. ``make docs`` builds it."""
