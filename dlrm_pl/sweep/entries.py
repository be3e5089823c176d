"""One setting of a search space: a range of numbers, or a list of choices."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.sweep.spelling import did_you_mean

Accepts = Callable[[str, Any], str]
"""Returns why a setting (given by its dotted name) cannot have a value; an empty string if it can."""

FIELDS = ("low", "high", "log", "step", "choices")
"""Fields that an entry of a space may have."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low: smallest number.
        high: largest number.
        log: whether to draw evenly on a logarithmic scale.
        step: distance between two numbers; None for any number in between.
        whole: whether only integers are allowed.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def statement(self) -> dict[str, Any]:
        """Return the entry as a file states it."""
        stated: dict[str, Any] = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {name: value for name, value in stated.items() if value not in (None, False)}

    def contains(self, value: Any) -> bool:
        """Return whether a value is one of these numbers."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9) and (not self.whole or value == int(value))

    def count(self) -> int | None:
        """Return how many numbers the range has; None if it has no steps."""
        step = self._distance
        return None if step is None else int((self.high - self.low) / step + 1e-9) + 1

    def values(self) -> list[float] | None:
        """Return all numbers of the range; None if it has no steps."""
        count = self.count()
        return None if count is None else [self._number(place) for place in range(count)]

    def highest(self) -> float:
        """Return the highest number of the range, which, with steps, need not be its end."""
        count = self.count()
        return self.high if count is None else self._number(count - 1)

    @property
    def _distance(self) -> float | None:
        return None if self.log else self.step or (1 if self.whole else None)

    def _number(self, place: int) -> float:
        number = self.low + place * (self._distance or 0)
        # Twelve digits, as 3 * 0.1 is not 0.3.
        return number if self.whole else float(f"{number:.12g}")


@dataclass(frozen=True)
class Choices:
    """A list of values.

    Attributes:
        options: values as plain data, with lists as tuples.
    """

    options: tuple[Any, ...]

    def statement(self) -> dict[str, Any]:
        """Return the entry as a file states it."""
        return {"choices": self.values()}

    def contains(self, value: Any) -> bool:
        """Return whether a value is one of the options."""
        return frozen(value) in self.options

    def count(self) -> int:
        """Return the number of options."""
        return len(self.options)

    def values(self) -> list[Any]:
        """Return all options, with lists as lists."""
        return plain_values(self.options)

    def category(self, value: Any) -> Any:
        """Return an option in Optuna's form: a list becomes text."""
        return json.dumps(value) if isinstance(value, list | tuple) else value

    def option(self, category: Any) -> Any:
        """Return the option for an Optuna category."""
        return next(value for value in self.values() if self.category(value) == category)


Entry = Range | Choices


def read_entry(name: str, stated: Any, accepts: Accepts) -> Entry:
    """Check an entry of a space, and return it.

    Args:
        name: dotted name of the setting.
        stated: what the file states about the setting.
        accepts: tells whether the setting can have a value.

    Raises:
        ConfigurationError: the entry makes no sense, or the setting cannot have one of its values.
    """
    where = f"space: {name}"
    if not isinstance(stated, Mapping):
        raise ConfigurationError(
            f"{where}: {shown(stated)} states nothing to choose from. Give {{low: L, high: H}}, with log: true for a "
            "logarithmic scale, or {choices: [A, B]}."
        )
    for field in stated:
        if field not in FIELDS:
            raise ConfigurationError(
                f"{where}: there is no field {field!r}{did_you_mean(str(field), FIELDS)} The fields are "
                f"{', '.join(FIELDS)} and when."
            )
    if "choices" in stated:
        if len(stated) > 1:
            other = next(field for field in stated if field != "choices")
            raise ConfigurationError(f"{where}: has choices and {other}. Give either choices, or low and high.")
        return _choices(where, name, stated["choices"], accepts)
    return _range(where, name, stated, accepts)


def _range(where: str, name: str, stated: Mapping[str, Any], accepts: Accepts) -> Range:
    for field in ("low", "high"):
        if field not in stated:
            raise ConfigurationError(f"{where}: has no {field}. Give low and high, or choices.")
    for field in ("low", "high", "step"):
        value = stated.get(field)
        if (value is not None or field != "step") and not _is_number(value):
            raise ConfigurationError(f"{where}: {field}={shown(value)} must be a number.")
    low, high, step, log = stated["low"], stated["high"], stated.get("step"), stated.get("log", False)
    if not isinstance(log, bool):
        raise ConfigurationError(f"{where}: log={shown(log)} must be true or false.")
    if not low < high:
        raise ConfigurationError(f"{where}: low={low} must be below high={high}.")
    if log and low <= 0:
        raise ConfigurationError(f"{where}: low={low} must be above 0, as log: true takes its logarithm.")
    if log and step is not None:
        raise ConfigurationError(f"{where}: has log and step, which are mutually exclusive. Leave one of them out.")
    if step is not None and not 0 < step <= high - low:
        raise ConfigurationError(f"{where}: step={step} must be above 0, and at most high - low, {high - low:g}.")
    for bound in (low, high):
        _require(where, name, bound, accepts)
    numbers = [number for number in (low, high, step) if number is not None]
    # A setting that accepts decimals gets them, even if the bounds are written as integers.
    whole = all(isinstance(number, int) for number in numbers) and bool(accepts(name, low + 0.5))
    return Range(low, high, log, step, whole)


def _choices(where: str, name: str, options: Any, accepts: Accepts) -> Choices:
    if not isinstance(options, list | tuple):
        raise ConfigurationError(f"{where}: choices={shown(options)} must be a list, as in [A, B].")
    if not options:
        raise ConfigurationError(f"{where}: choices is empty. Name at least one value, or leave the setting out.")
    kinds = {kind for option in options if (kind := _kind(where, option)) != "null"}
    if len(kinds) > 1:
        raise ConfigurationError(
            f"{where}: choices={shown(list(options))} mixes {' and '.join(sorted(kinds))}. Give values of one type; "
            "null can be combined with any type."
        )
    known: list[Any] = []
    for option in options:
        if frozen(option) in known:
            raise ConfigurationError(f"{where}: {shown(option)} occurs twice in choices. Leave one of them out.")
        known.append(frozen(option))
        _require(where, name, option, accepts)
    return Choices(tuple(known))


def _require(where: str, name: str, value: Any, accepts: Accepts) -> None:
    if reason := accepts(name, value):
        raise ConfigurationError(f"{where}: {reason}")


def _kind(where: str, option: Any) -> str:
    if option is None:
        return "null"
    if isinstance(option, bool):
        return "true or false"
    if _is_number(option):
        return "numbers"
    if isinstance(option, str):
        return "texts"
    if isinstance(option, list | tuple) and all(isinstance(value, bool | int | float | str) for value in option):
        return "lists"
    raise ConfigurationError(
        f"{where}: {shown(option)} cannot be a choice: give numbers, strings, true, false, null, or lists of these."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def frozen(value: Any) -> Any:
    """Return a value that can be compared and hashed: a list as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else value


def plain_values(values: Iterable[Any]) -> list[Any]:
    """Return values with lists in place of tuples."""
    return [list(value) if isinstance(value, tuple) else value for value in values]
