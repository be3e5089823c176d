"""The bisection that evaluates few points ends where plain bisection does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.data.synthetic.bisection import Function, bisected


def plain(function: Function, low: float, high: float, steps: int) -> float:
    middle = math.nan
    for _ in range(steps):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return middle


@given(
    root=st.floats(-990.0, 990.0),
    slope=st.floats(0.01, 100.0),
    start=st.floats(-990.0, 990.0),
    steps=st.integers(1, 50),
)
def test_it_ends_where_plain_bisection_ends(root: float, slope: float, start: float, steps: int) -> None:
    def saturating(x: float) -> float:
        return math.tanh(slope * (x - root))

    assert bisected(saturating, -1000.0, 1000.0, steps=steps, start=start) == plain(saturating, -1000.0, 1000.0, steps)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_it_ends_at_an_end_where_there_is_no_root(sign: float) -> None:
    def constant(_: float) -> float:
        return sign

    assert bisected(constant, -1000.0, 1000.0, steps=50, start=0.0) == plain(constant, -1000.0, 1000.0, 50)


def test_few_points_are_evaluated() -> None:
    evaluated = []

    def excess(x: float) -> float:
        evaluated.append(x)
        return 1 / (1 + math.exp(-x)) - 0.033

    bisected(excess, -1000.0, 1000.0, steps=50, start=0.0)
    assert len(evaluated) < 25
