"""Check arguments against their annotations when an object is made, not when it is used hours later."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError

_NUMBERS: dict[type, tuple[type, str]] = {int: (Integral, "a whole number"), float: (Real, "a number")}
_KINDS = {str: "text", bool: "true or false", types.NoneType: "None"}


def check_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Check the arguments of a call against the annotations of the function.

    Args:
        function: function whose parameters have annotations.
        values: arguments by name, for example ``locals()``; names that are not parameters are ignored.

    Raises:
        ConfigurationError: a value does not fit its annotation; the message names the argument and the value.
    """
    for name, hint in _hints(function).items():
        if name in values and name != "return" and not _fits(hint, values[name]):
            raise ConfigurationError(f"{name}={shown(values[name])} must be {_description(hint)}.")


def check_fields(made: Any) -> None:
    """Check a dataclass's fields, in its ``__post_init__``; NumPy and torch numbers become Python numbers.

    Raises:
        ConfigurationError: a value does not fit its annotation; the message names the field and the value.
    """
    values = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    check_arguments(type(made), values)
    for name, value in values.items():
        if (number := plain_number(value)) is not value:
            object.__setattr__(made, name, number)


def plain_number(value: Any) -> Any:
    """Return a NumPy number as a Python ``int`` or ``float``, which JSON can hold, and other values unchanged."""
    if isinstance(value, bool | int | float) and type(value) in (bool, int, float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


@lru_cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function)


def _fits(hint: Any, value: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(kind, value) for kind in arguments)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin in (dict, collections.abc.Mapping):
        items = value.items() if isinstance(value, Mapping) else [(None, None)]
        return all(_fits(arguments[0], key) and _fits(arguments[1], item) for key, item in items)
    if origin in (list, tuple, collections.abc.Sequence):
        return isinstance(value, list | tuple) and all(_fits(arguments[0], item) for item in value)
    if hint is str:  # Most string arguments are file names.
        return isinstance(value, str | PathLike)
    if hint in _NUMBERS:
        return isinstance(value, _NUMBERS[hint][0]) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _is_path(hint: Any) -> bool:
    return PathLike in (hint, get_origin(hint)) or (isinstance(hint, type) and issubclass(hint, Path))


def _description(hint: Any) -> str:
    """Describe the values that fit an annotation, for messages."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        # A path is a str or a PathLike; "a path" covers both.
        kinds = [kind for kind in arguments if kind is not str or not any(_is_path(other) for other in arguments)]
        return " or ".join(_description(kind) for kind in kinds)
    if _is_path(hint):
        return "a path"
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is collections.abc.Callable:
        return "a function"
    if origin in (dict, collections.abc.Mapping):
        return f"a dict with values that are {_description(arguments[1])}"
    if origin in (list, tuple, collections.abc.Sequence):
        return f"a list of which each item is {_description(arguments[0])}"
    if hint in _NUMBERS:
        return _NUMBERS[hint][1]
    article = "an" if hint.__name__[0] in "AEIOU" else "a"
    return _KINDS.get(hint) or f"{article} {hint.__name__}"
