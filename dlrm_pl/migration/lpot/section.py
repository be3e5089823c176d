"""A section of a conf.yaml, with checks of its keys and values and the messages for wrong ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlrm_pl.errors import ConfigurationError


@dataclass(frozen=True)
class Section:
    """A mapping of a YAML file and its place in the file.

    Attributes:
        file: name of the file, for messages.
        path: dotted path of the section; empty for the whole file.
        values: values by key.
        notes: ignored keys and the reasons; shared by all sections of a file.
    """

    file: str
    path: str
    values: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    def at(self, key: str) -> str:
        """Return the place of a key, for messages."""
        return f"{self.file}: {self.path}.{key}" if self.path else f"{self.file}: {key}"

    def note(self, key: str, reason: str) -> None:
        """Note that a key is ignored, or has a different meaning than in LPOT."""
        self.notes.append(f"{self.at(key)}: {reason}")

    def check(
        self,
        known: Sequence[str],
        *,
        ignored: Mapping[str, str] | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        """Check the keys of the section.

        Args:
            known: keys that are read.
            ignored: keys without a meaning here, with the reasons, which are noted.
            refused: keys that request an unsupported feature, with the reasons.

        Raises:
            ConfigurationError: a key is refused or unknown; for an unknown one, the message names the closest one.
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
                    f"{self.at(str(key))}: unknown key. {hint}The keys are {_list([*known, *ignored])}."
                )

    def section(self, key: str) -> Section:
        """Return a subsection, which is empty if it is missing.

        Raises:
            ConfigurationError: the value is not a mapping.
        """
        value = self.values.get(key)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a section with keys")
        return Section(self.file, self.at(key).removeprefix(f"{self.file}: "), value, self.notes)

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Iterate over the names and subsections."""
        for key in self.values:
            yield str(key), self.section(key)

    def choice(self, key: str, choices: Mapping[str, str | None], default: str | None = None) -> str | None:
        """Read one word from a few choices.

        Args:
            key: key of the value.
            choices: known words, each with the reason if it is refused.
            default: value if the key is missing.

        Raises:
            ConfigurationError: the word is refused or unknown; for an unknown one, the message names the closest one.
        """
        value = self.values.get(key, default)
        if value is None:
            return None
        if not isinstance(value, str) or value not in choices:
            close = difflib.get_close_matches(str(value), choices, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(
                f"{self.at(key)}: unknown value {_short(value)}; expected {_either(list(choices))}.{hint}"
            )
        if reason := choices[value]:
            raise ConfigurationError(f"{self.at(key)}: {value!r}: {reason}")
        return value

    def choices(self, key: str, choices: Mapping[str, str | None]) -> list[str]:
        """Read a word, several words in one string, or a list, each as ``choice`` does; empty if the key is missing."""
        value = self.values.get(key)
        if value is None:
            return []
        words = parts_of(value)
        if not words:
            raise self.wrong(key, "at least one choice")
        checked = [Section(self.file, self.path, {key: word}, self.notes).choice(key, choices) for word in words]
        return [word for word in checked if word is not None]

    def number(self, key: str, default: float, *, smallest: float = 0.0) -> float:
        """Read a number.

        Raises:
            ConfigurationError: the value is not a number, or too small.
        """
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not smallest <= value < float("inf"):
            raise self.wrong(key, f"{smallest:g} or more" if smallest else "a non-negative number")
        return value

    def whole(self, key: str, default: int, *, smallest: int = 0) -> int:
        """Read a whole number.

        Raises:
            ConfigurationError: the value is not a whole number, or too small.
        """
        value = self.number(key, default, smallest=smallest)
        if value != int(value):
            raise self.wrong(key, "a whole number")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false.

        Raises:
            ConfigurationError: the value is neither.
        """
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def share(self, key: str) -> float:
        """Read a number or a percentage, such as 0.01 or '1%'.

        Raises:
            ConfigurationError: the value is neither, or negative.
        """
        value = self.values[key]
        try:
            if isinstance(value, bool):
                raise ValueError
            text = str(value).strip()
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            raise self.wrong(key, "a number such as 0.01, or a percentage such as '1%'") from None
        if not 0 <= share < float("inf"):
            raise self.wrong(key, "a non-negative number")
        return share

    def wrong(self, key: str, wanted: str) -> ConfigurationError:
        """Make the error for a value of the wrong kind."""
        return ConfigurationError(f"{self.at(key)}: {_short(self.values.get(key))} must be {wanted}.")


def parts_of(value: Any) -> list[Any]:
    """Split a list as LPOT writes it: a list, one value, or a string with values between spaces or commas."""
    if isinstance(value, str):
        return re.split(r"[\s,]+", value.strip(" \t\n,")) if value.strip(" \t\n,") else []
    return value if isinstance(value, list) else [value]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
