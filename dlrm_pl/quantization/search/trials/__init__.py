"""Trials of a search, and the log that a search goes on from."""
