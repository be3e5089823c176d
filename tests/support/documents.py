"""Documents of dicts and lists in which a test changes one value."""

from __future__ import annotations

import copy
from typing import Any

MISSING = object()
"""As a value, this removes the key."""


def with_value(contents: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a document with another value at a path of keys and positions."""
    changed = copy.deepcopy(contents)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    if value is MISSING:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return changed
