"""Checkpoints that are folders, to which several processes each wrote their parts of the tables."""
