"""The number of random examples that a property test gets."""

from __future__ import annotations

from hypothesis import settings

PROFILES = {"few": 20, "many": 500}
"""Number of examples for tests that do not state one, by profile: `make test-slow` uses many."""


def examples(count: int) -> int:
    """Return the number of examples for a test that needs ``count``: all in a thorough run, otherwise two fifths.

    Every run draws different examples, so many runs with few examples find as much as one run with many.
    """
    return count if settings.default.max_examples == PROFILES["many"] else max(2, count * 2 // 5)
