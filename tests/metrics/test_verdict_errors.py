"""Simulates how often a certificate errs. This takes minutes, so `make test-slow` runs it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.simulation import BinormalPair, coverage

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verdicts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(SCRIPT.parent))  # As Python itself does for a script.
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return module


verdicts = script()


def test_few_clicks_are_covered_as_often_as_is_said() -> None:
    """With the normal distribution alone, the bounds for so few rows would hold too seldom."""
    held = coverage(BinormalPair(0.8, 0.02, 0.2), rows=60, samples=300, seed=2)
    # Three standard errors of a share of 300 below 95 %.
    assert min(held.two_sided, held.upper, held.lower) > 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", verdicts.CASES)
def test_bounds_hold_as_often_as_they_say(name: str) -> None:
    pair, rows, step = verdicts.CASES[name]
    held = coverage(pair, rows=rows, samples=1000, seed=3, step=step)
    # One standard error of such a share is 0.7 %. An interval that always holds would be too wide to be of use.
    assert 0.94 <= held.two_sided <= 0.992
    assert min(held.upper, held.lower) >= 0.94


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("factor", [1.0001, 1.2])
def test_search_among_recipes_that_lose_too_much_ends_accepted_as_seldom_as_is_said(factor: float) -> None:
    found = verdicts.error_rates(factor=factor, searches=100, seed=4)
    # 5 % of 100 are allowed; more than 10 would be seen once in 80 runs.
    assert found["bound"] <= 0.10
    assert found["bound"] <= found["estimate"]
