"""Confidence interval of a share, such as a click rate."""

from __future__ import annotations

import math

_Z = 1.96


def share_interval(share: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927), which stays within [0, 1] even for few clicks.

    Args:
        share: share of the rows, such as the share that was clicked.
        rows: number of rows, 1 or more.

    Example:
        >>> from dlrm_pl.metrics.share_interval import share_interval
        >>> [round(end, 3) for end in share_interval(0.1, 100)]
        [0.055, 0.174]
    """
    middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    half = _Z / (1 + _Z**2 / rows) * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return min(middle - half, share), max(middle + half, share)
