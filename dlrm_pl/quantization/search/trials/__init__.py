"""Trials of a search, and the log from which a search can continue."""
