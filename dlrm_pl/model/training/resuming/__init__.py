"""Resuming from a checkpoint: what is compared with it, and what is taken from it."""
