"""The interval of a share, compared with its definition."""

from __future__ import annotations

import math

import pytest

from dlrm_pl.metrics.share_interval import share_interval


@pytest.mark.parametrize(("clicks", "rows"), [(0, 50), (1, 50), (25, 50), (50, 50), (3, 100_000)])
def test_interval_of_a_click_rate_is_wilsons(clicks: int, rows: int) -> None:
    """Its ends are the rates p with |clicks / rows - p| = 1.96 sqrt(p (1 - p) / rows)."""
    low, high = share_interval(clicks / rows, rows)
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(clicks / rows - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / rows), rel=1e-6)
    assert 0 <= low <= clicks / rows <= high <= 1
