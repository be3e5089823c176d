"""What was unpickled is plain: containers of numbers, text and tensors, not nested without end."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dlrm_pl.errors import CheckpointError

MAX_DEPTH = 64


def check_plain(contents: Any, leaves: tuple[type, ...]) -> None:
    """Check a structure, without recursion, since a hostile one may be nested a million deep.

    Args:
        contents: dicts, lists, tuples and sets of plain values.
        leaves: further types that it may hold.

    Raises:
        CheckpointError: nested deeper than ``MAX_DEPTH``, in itself, or holding something else.
    """
    allowed: tuple[type, ...] = (str, bytes, int, float, type(None), torch.dtype, np.ndarray, *leaves)
    depths: dict[int, int] = {}  # Of finished containers, by id; each is entered once, however often it is shared.
    path: list[tuple[Any, list[Any]]] = [({"": None}, [contents])]
    open_ids: set[int] = set()
    while path:
        container, remaining = path[-1]
        if not remaining:
            path.pop()
            open_ids.discard(id(container))
            below = [depths.get(id(child), 0) for child in _children(container)]
            depths[id(container)] = 1 + max(below, default=0)
            if depths[id(container)] > MAX_DEPTH:
                raise CheckpointError(f"nested deeper than {MAX_DEPTH}, more than a checkpoint needs")
            continue
        child = remaining.pop()
        if isinstance(child, dict | list | tuple | set):
            if id(child) in open_ids or len(path) > MAX_DEPTH:
                raise CheckpointError(f"nested deeper than {MAX_DEPTH} or in itself, which no checkpoint needs")
            if id(child) not in depths:
                open_ids.add(id(child))
                path.append((child, _children(child)))
        elif not isinstance(child, allowed):
            raise CheckpointError(f"holds a {getattr(child, 'name', type(child).__name__)} by itself, not as a value")


def replace_leaves(contents: Any, leaf: type | tuple[type, ...], replace: Callable[[Any], Any]) -> Any:
    """A copy of a checked structure, in which every ``leaf`` is replaced; what is shared stays shared."""
    done: dict[int, Any] = {}

    def copy(value: Any) -> Any:
        if id(value) in done:
            return done[id(value)]
        result: Any
        if isinstance(value, leaf):
            result = replace(value)
        elif isinstance(value, dict):
            result = collections.OrderedDict() if isinstance(value, collections.OrderedDict) else {}
            result.update((key, copy(item)) for key, item in value.items())
        elif isinstance(value, list | tuple):
            result = type(value)(copy(item) for item in value)
        else:
            return value
        done[id(value)] = result
        return result

    return copy(contents)


def _children(container: Any) -> list[Any]:
    return list(container.values() if isinstance(container, dict) else container)
