"""Optimizers of the MLPs and of the embedding tables, and the schedule of their learning rates."""
