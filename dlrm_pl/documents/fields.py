"""Convert values from a file to a dataclass, checked against its annotations.

The type of a field is the only definition of its valid values; types such as ``Count`` restrict numbers to a range.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dlrm_pl.errors import DLRMError

T = TypeVar("T")


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both included."""

    least: float
    most: float = float("inf")

    def __str__(self) -> str:
        """Return the bounds for a message, to follow "a number"."""
        return (
            f"of at least {self.least:g}" if self.most == float("inf") else f"between {self.least:g} and {self.most:g}"
        )


class Partial:
    """Base of dataclasses with only some of the fields in a file; other fields are ignored instead of refused."""


Count = Annotated[int, Within(0)]
Positive = Annotated[int, Within(1)]
Share = Annotated[float, Within(0, 1)]


class _WrongValueError(Exception):
    """Error of a field: its path, its value, and a description of valid values."""

    def __init__(self, path: tuple[str, ...], value: object, wanted: str) -> None:
        at = ".".join(path)
        missing = value is dataclasses.MISSING
        super().__init__(f"{at} is missing" if missing else f"{at}{': ' if at else ''}{shown(value)} must be {wanted}")
        self.path = path
        self.wanted = wanted


def make(kind: type[T], values: Any, where: str, error: type[DLRMError], advice: str = "") -> T:
    """Make a dataclass from values read from JSON, YAML or a checkpoint.

    Args:
        kind: dataclass; fields without a default are required, and unknown fields are allowed only in a ``Partial``.
        values: values of the fields, by name.
        where: place that the values were read from; begins the message.
        error: class of the error to raise.
        advice: sentence that says what to do; ends the message.

    Raises:
        DLRMError: an ``error``: a field is missing, unknown, or of the wrong type; the message names it and its value.
            Errors raised by ``__post_init__`` are passed on unchanged.
    """
    try:
        made: T = _dataclass(kind, values, ())
    except _WrongValueError as wrong:
        raise error(f"{where}: {wrong}. {advice}".rstrip()) from None
    return made


def shown(value: object) -> str:
    """Return a value for a message, shortened; ``repr`` leaves text of any script readable, and escapes the rest."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def printable(text: str) -> str:
    """Return a text in any script for a terminal, with control characters and changes of direction escaped."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _dataclass(kind: Any, values: Any, path: tuple[str, ...]) -> Any:
    if not isinstance(values, Mapping):
        raise _WrongValueError(path, values, "an object with fields")
    hints = _hints(kind)
    fields = {}
    for field in dataclasses.fields(kind):
        if field.name in values:
            fields[field.name] = _value(hints[field.name], values[field.name], (*path, field.name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _WrongValueError((*path, field.name), dataclasses.MISSING, "present")
    for name, value in values.items():
        if name not in hints and not issubclass(kind, Partial):
            raise _WrongValueError((*path, shown(name)[1:-1]), value, "removed: unknown field")
    return kind(**fields)


def _value(hint: Any, value: Any, path: tuple[str, ...]) -> Any:
    """Return a value as its type requires it, with tuples in place of lists where the type has tuples."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, path)
    if origin is Annotated:
        result = _value(arguments[0], value, path)
        bounds: Within = arguments[1]
        if result < bounds.least or result > bounds.most:  # NaN passes: JSON cannot hold it, so null may stand for it.
            raise _WrongValueError(path, value, f"{_NAMES[arguments[0]]} {bounds}")
        return result
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, path)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in arguments):
            raise _WrongValueError(path, value, f"one of {', '.join(map(repr, arguments))}")
        return value
    if origin is dict:
        if not isinstance(value, dict):
            raise _WrongValueError(path, value, "an object with fields")
        for key in value:
            if not isinstance(key, str):
                raise _WrongValueError(path, key, "text, as the name of a field")
        return {key: _value(arguments[1], item, (*path, shown(key)[1:-1])) for key, item in value.items()}
    if origin in (list, tuple):
        return _sequence(origin, arguments, value, path)
    return _plain(hint, value, path)


def _one_of(kinds: tuple[Any, ...], value: Any, path: tuple[str, ...]) -> Any:
    tried = []
    for kind in kinds:
        try:
            return _value(kind, value, path)
        except _WrongValueError as wrong:
            if len(wrong.path) > len(path):  # The kind fits, but something inside it does not.
                raise
            tried.append(wrong.wanted)
    raise _WrongValueError(path, value, " or ".join(tried))


def _sequence(origin: Callable[..., Any], arguments: tuple[Any, ...], value: Any, path: tuple[str, ...]) -> Any:
    if not isinstance(value, list | tuple):
        raise _WrongValueError(path, value, "a list")
    kinds = [arguments[0]] * len(value) if origin is list or arguments[-1] is Ellipsis else list(arguments)
    if len(kinds) != len(value):
        raise _WrongValueError(path, value, f"a list of {len(kinds)}")
    items = zip(kinds, value, strict=True)
    return origin(_value(kind, item, (*path, str(index))) for index, (kind, item) in enumerate(items))


_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
}


def _plain(hint: Any, value: Any, path: tuple[str, ...]) -> Any:
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not fits:
        raise _WrongValueError(path, value, _NAMES[hint])
    return value
