"""Tools that make a release: packages, their checks, and a new version. docs/releasing.md says when to run which."""
