"""Gradients after the backward pass: clipped, and averaged over ranks, also where they are sparse."""
