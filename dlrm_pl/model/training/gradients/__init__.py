"""Gradients after the backward pass: clipped, and averaged over ranks, even if they are sparse."""
