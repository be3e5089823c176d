"""Checkpoints in a folder, of several processes that each wrote its parts of the tables."""
