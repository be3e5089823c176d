"""A section of a conf.yaml: which keys it may have, and one message for what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlrm_pl.errors import ConfigurationError


@dataclass(frozen=True)
class Section:
    """A mapping, and where it stands.

    Attributes:
        file: its name, for messages.
        path: dotted, empty for the whole file.
        values: by key.
        notes: what is ignored, with reasons; shared by all sections of a file.
    """

    file: str
    path: str
    values: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    def at(self, key: str) -> str:
        """Where a key stands."""
        return f"{self.file}: {self.path}.{key}" if self.path else f"{self.file}: {key}"

    def note(self, key: str, reason: str) -> None:
        """Remember that a key does nothing here, or something else than there."""
        self.notes.append(f"{self.at(key)}: {reason}")

    def check(
        self,
        known: Sequence[str],
        *,
        ignored: Mapping[str, str] | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        """Go through the keys.

        Args:
            known: keys that are read.
            ignored: keys that mean nothing here, with the reason, which is noted.
            refused: keys that ask for what there is not, with the reason.

        Raises:
            ConfigurationError: a refused key, or one that LPOT does not have either; names the closest.
        """
        ignored, refused = ignored or {}, refused or {}
        for key, value in self.values.items():
            if key in refused:
                raise ConfigurationError(f"{self.at(key)}: {refused[key]}")
            if key in ignored:
                self.note(key, f"{_short(value)} is ignored: {ignored[key]}")
            elif key not in known:
                names = [*known, *ignored, *refused]
                close = difflib.get_close_matches(str(key), names, n=1)
                hint = f"Did you mean {close[0]!r}? " if close else ""
                raise ConfigurationError(
                    f"{self.at(str(key))}: there is no such key. {hint}The keys are {_list([*known, *ignored])}."
                )

    def section(self, key: str) -> Section:
        """A section below; empty where it is missing or has nothing in it.

        Raises:
            ConfigurationError: it is no mapping.
        """
        value = self.values.get(key)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a section with keys of its own")
        return Section(self.file, self.at(key).removeprefix(f"{self.file}: "), value, self.notes)

    def sections(self) -> Iterator[tuple[str, Section]]:
        """All values as sections."""
        for key in self.values:
            yield str(key), self.section(key)

    def choice(self, key: str, choices: Mapping[str, str | None], default: str | None = None) -> str | None:
        """One of a few words; those with a reason are refused.

        Raises:
            ConfigurationError: refused, or none of them; names the closest.
        """
        value = self.values.get(key, default)
        if value is None:
            return None
        if not isinstance(value, str) or value not in choices:
            close = difflib.get_close_matches(str(value), choices, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(f"{self.at(key)}: {_short(value)} is none of {_list(list(choices))}.{hint}")
        if reason := choices[value]:
            raise ConfigurationError(f"{self.at(key)}: {value!r}: {reason}")
        return value

    def choices(self, key: str, choices: Mapping[str, str | None]) -> list[str]:
        """A word, several in one text, or a list of words, as ``choice``; empty where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return []
        words = parts_of(value)
        if not words:
            raise self.wrong(key, "at least one choice")
        one = [Section(self.file, self.path, {key: word}, self.notes).choice(key, choices) for word in words]
        return [word for word in one if word is not None]

    def number(self, key: str, default: float, *, smallest: float = 0.0) -> float:
        """A number.

        Raises:
            ConfigurationError: it is none, or too small.
        """
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not smallest <= value < float("inf"):
            raise self.wrong(key, f"a number from {smallest:g} on")
        return value

    def whole(self, key: str, default: int, *, smallest: int = 0) -> int:
        """A whole number.

        Raises:
            ConfigurationError: it is none, or too small.
        """
        value = self.number(key, default, smallest=smallest)
        if value != int(value):
            raise self.wrong(key, "a whole number")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false.

        Raises:
            ConfigurationError: it is neither.
        """
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def share(self, key: str) -> float:
        """A number or percents, as 0.01 or '1%'.

        Raises:
            ConfigurationError: it is neither, or negative.
        """
        value = self.values[key]
        try:
            if isinstance(value, bool):
                raise ValueError
            text = str(value).strip()
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            raise self.wrong(key, "a number as 0.01, or percents as '1%'") from None
        if not 0 <= share < float("inf"):
            raise self.wrong(key, "a number from 0 on")
        return share

    def wrong(self, key: str, wanted: str) -> ConfigurationError:
        """What to raise for a value of the wrong kind."""
        return ConfigurationError(f"{self.at(key)}: {_short(self.values.get(key))} must be {wanted}.")


def parts_of(value: Any) -> list[Any]:
    """A list as LPOT writes it: a list, one value, or a text with several between spaces or commas."""
    if isinstance(value, str):
        return re.split(r"[\s,]+", value.strip(" \t\n,")) if value.strip(" \t\n,") else []
    return value if isinstance(value, list) else [value]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
