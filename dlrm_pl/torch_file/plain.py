"""Check that unpickled contents are plain: containers of numbers, text and tensors, of limited depth and size."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.allow_list import NumpyArray

MAX_DEPTH = 64
# Shared values count as often as they occur, since a traversal or a printout visits them that often.
MAX_VALUES = 2_000_000
_BYTES_OF_A_VALUE = 64  # Each 64 bytes of text and of arrays count as a value.
_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})


@dataclass(frozen=True)
class _Size:
    """Depth of a finished container, and the number of values in it."""

    depth: int
    values: int


def check_plain(contents: Any, leaves: tuple[type, ...]) -> None:
    """Check a structure without recursion, since a hostile one may be nested a million levels deep.

    Args:
        contents: dicts, lists, tuples and sets of plain values.
        leaves: additional types that it may hold.

    Raises:
        CheckpointError: it is nested deeper than ``MAX_DEPTH`` or contains itself, has more than ``MAX_VALUES`` values,
            or holds a value of another type.
    """
    allowed: tuple[type, ...] = (str, bytes, int, float, type(None), torch.dtype, np.ndarray, *leaves)
    sizes: dict[int, _Size] = {}  # By id; each container is entered once, however often it is shared.
    path: list[tuple[Any, list[Any]]] = [({"": None}, [contents])]
    open_ids: set[int] = set()
    while path:
        container, remaining = path[-1]
        if not remaining:
            path.pop()
            open_ids.discard(id(container))
            size = sizes[id(container)] = _size(container, sizes)
            if size.depth > MAX_DEPTH:
                raise CheckpointError(f"nested deeper than {MAX_DEPTH} levels, more than a checkpoint needs")
            if size.values > MAX_VALUES:
                raise CheckpointError(
                    f"holds more than {MAX_VALUES:,} values (shared ones count as often as they occur), more than a "
                    "checkpoint needs"
                )
            continue
        child = remaining.pop()
        if isinstance(child, dict | list | tuple | set):
            if id(child) in open_ids or len(path) > MAX_DEPTH:
                raise CheckpointError(
                    f"nested deeper than {MAX_DEPTH} levels or inside itself, which no checkpoint needs"
                )
            if id(child) not in sizes:
                open_ids.add(id(child))
                path.append((child, _children(child)))
        elif not isinstance(child, allowed):
            raise CheckpointError(f"holds a {getattr(child, 'name', type(child).__name__)} where a value is expected")


def replace_leaves(contents: Any, leaf: type | tuple[type, ...], replace: Callable[[Any], Any]) -> Any:
    """Copy a checked structure with every ``leaf`` replaced; shared values stay shared.

    Args:
        contents: structure that ``check_plain`` accepts.
        leaf: types to replace, other than those of plain values.
        replace: function that returns the replacement for a leaf.
    """
    done: dict[int, Any] = {}

    def copy(value: Any) -> Any:
        if type(value) in _SCALARS:  # Nearly all values; a protocol check takes far longer.
            return value
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


def _size(container: Any, sizes: Mapping[int, _Size]) -> _Size:
    depth, values = 1, 1
    for child in (*(container if isinstance(container, dict) else ()), *_children(container)):
        if inner := sizes.get(id(child)):
            depth = max(depth, inner.depth + 1)
            values += inner.values
        elif isinstance(child, str | bytes):
            values += 1 + len(child) // _BYTES_OF_A_VALUE
        elif isinstance(child, np.ndarray | NumpyArray):
            array = child.filled() if isinstance(child, NumpyArray) else child
            values += 1 + array.nbytes // _BYTES_OF_A_VALUE
        else:
            values += 1
    return _Size(depth, values)


def _children(container: Any) -> list[Any]:
    return list(container.values() if isinstance(container, dict) else container)
