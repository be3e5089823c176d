"""How many random examples the test of a property gets."""

from __future__ import annotations

from hypothesis import settings

PROFILES = {"few": 20, "many": 500}
"""Examples of a test that does not say how many it needs, by profile: `make test-slow` asks for many."""


def examples(count: int) -> int:
    """Return how many examples a test gets that needs ``count``: so many where many are asked for, else two fifths.

    Every run draws others, so that few of them find in many runs what many find in one.
    """
    return count if settings.default.max_examples == PROFILES["many"] else max(2, count * 2 // 5)
