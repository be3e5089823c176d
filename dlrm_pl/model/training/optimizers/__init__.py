"""Optimizers of the MLPs and of the embedding tables."""
