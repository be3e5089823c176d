"""Slices of the rows by a column: the worst one, and the rule by which it is judged."""
