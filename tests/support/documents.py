"""Documents of dicts and lists in which a test changes one value."""

from __future__ import annotations

import copy
from typing import Any

MISSING = object()
"""As a value: leaves the key out."""


def with_value(contents: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a document with another value at a path of keys and positions."""
    changed = copy.deepcopy(contents)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    if value is MISSING:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return changed
