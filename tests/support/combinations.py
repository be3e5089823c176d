"""Selects which combinations of a test's parameters run, and which are left to ``make test-slow``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import pytest


def leave_combinations(items: Iterable[pytest.Item]) -> None:
    """Mark combinations that the marker ``each_value`` leaves out as slow: others contain their values as well."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("each_value") and not item.get_closest_marker("slow"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for found in tests.values():
        kept = each_value([_values(item) for item in found])
        for number, item in enumerate(found):
            if number not in kept:
                item.add_marker(pytest.mark.slow)


def each_value(combinations: Sequence[Sequence[Hashable]]) -> set[int]:
    """Choose few combinations that contain every value of every parameter, each about equally often."""
    kept: set[int] = set()
    used: Counter[tuple[int, Hashable]] = Counter()
    values = [set(enumerate(one)) for one in combinations]
    missing = set().union(*values)
    while missing:
        best = max(
            (number for number in range(len(values)) if number not in kept),
            key=lambda number: (len(values[number] & missing), -sum(used[value] for value in values[number])),
        )
        kept.add(best)
        used.update(values[best])
        missing -= values[best]
    return kept


def _values(item: pytest.Item) -> list[Hashable]:
    """Return an item's value for each ``parametrize``: the same objects as in other items with that value."""
    params = item.callspec.params  # type: ignore[attr-defined]
    found: list[Hashable] = []
    for marker in item.iter_markers("parametrize"):
        names = marker.args[0]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
        found.append(tuple(id(params[name]) for name in names))
    return found
