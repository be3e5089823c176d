"""Parse upstream's arguments to a value for each flag, by the rules of its own argparse."""

from __future__ import annotations

import difflib
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.pasted import is_variable
from dlrm_pl.migration.flags.table import FLAGS, Flag, Program, Value


@dataclass(frozen=True)
class Values:
    """Contents of a command line.

    Attributes:
        program: program that the flags belong to.
        flags: every flag of the script and its variants, by name.
        by_name: value of every flag; upstream's default if it was not given.
        given: names of the flags that were given.
        abbreviations: abbreviations as typed, and the flags that upstream reads them as.
        unread: shell variables used as arguments, whose values are not known here.
        mixed: whether no single program knows all of the flags.
    """

    program: Program
    flags: Mapping[str, Flag]
    by_name: Mapping[str, Value]
    given: frozenset[str]
    abbreviations: Mapping[str, str]
    unread: tuple[str, ...] = ()
    mixed: bool = False

    def integer(self, name: str) -> int:
        """Return a whole number."""
        value = self.by_name[name]
        assert isinstance(value, int)
        return value

    def number(self, name: str) -> float:
        """Return a number."""
        value = self.by_name[name]
        assert isinstance(value, int | float)
        return float(value)

    def text(self, name: str) -> str:
        """Return a word."""
        value = self.by_name[name]
        assert isinstance(value, str)
        return value

    def integers(self, name: str) -> list[int]:
        """Return whole numbers separated by dashes, or by commas if the flag uses these."""
        return [int(word) for word in self.text(name).split("," if self.flags[name].kind == "commas" else "-")]

    def numbers(self, name: str) -> list[float]:
        """Return numbers separated by dashes."""
        return [float(word) for word in self.text(name).split("-")]

    def on(self, name: str) -> bool:
        """Return whether a switch is on, or a word was given."""
        return bool(self.by_name[name])

    def shown(self, name: str) -> str:
        """Return the flag as it would be typed: ``--nepochs=1``, ``--memory-map``."""
        value = self.by_name[name]
        return name if self.flags[name].kind == "switch" or value in (None, "") else f"{name}={value}"


def parse(arguments: Sequence[str], script: str = "") -> Values:
    """Parse the arguments like the first program that knows all of them.

    Args:
        arguments: arguments of the script.
        script: file name of the script, which identifies the variant if the flags do not; empty if unknown.

    Raises:
        ConfigurationError: the script is another program's; or flags are unknown (all are named, with flags of similar
            names), ambiguous, or have a value that cannot be read.
    """
    if script and not script.startswith("dlrm_s_pytorch"):
        raise ConfigurationError(
            f"{script} is not one of upstream's scripts. Those that can be translated are dlrm_s_pytorch.py and "
            "Intel's variants of it, and dlrm_main.py of torchrec_dlrm."
        )
    return read_values(arguments, FLAGS, ("tune", "ipex", "main") if "tune" in script else ("main", "tune", "ipex"))


def unknown_flags(arguments: Sequence[str], flags: Mapping[str, Flag]) -> int:
    """Count the words that look like flags but are not among these."""
    return len(_resolve(arguments, flags).unknown)


def read_values(arguments: Sequence[str], every_flag: Mapping[str, Flag], order: Sequence[Program]) -> Values:
    """Parse a script's arguments like the first of its variants that knows all of them.

    Args:
        arguments: arguments of the script.
        every_flag: flags of all variants, by name.
        order: variants in order of preference.

    Raises:
        ConfigurationError: see ``parse``.
    """
    read = {program: _resolve(arguments, _of_program(every_flag, program)) for program in order}
    program = min(order, key=lambda name: len(read[name].unknown) + len(read[name].ambiguous))
    mixed = bool(read[program].unknown)
    flags = every_flag if mixed else _of_program(every_flag, program)
    resolved = _resolve(arguments, flags)
    problems = [_unknown_message(word, every_flag) for word in resolved.unknown]
    problems += [
        f"{word}: is ambiguous: it could be {' or '.join(names)}" for word, names in resolved.ambiguous.items()
    ]
    if problems:
        raise ConfigurationError("Unknown flags (upstream would stop):\n  " + "\n  ".join(dict.fromkeys(problems)))
    found, rest = _read(resolved.arguments, flags)
    unread = tuple(word for word in rest if is_variable(word))
    if rest := [word for word in rest if not is_variable(word)]:
        raise ConfigurationError(
            f"{' '.join(rest)!r} is neither a flag nor the value of a flag. Quote values that contain spaces, and "
            "give a single command line."
        )
    values = {name: found.get(name, flag.default) for name, flag in every_flag.items()}
    return Values(program, every_flag, values, frozenset(found), resolved.abbreviations, unread, mixed)


@dataclass(frozen=True)
class _Resolved:
    arguments: list[str]
    abbreviations: dict[str, str]
    unknown: list[str]
    ambiguous: dict[str, list[str]]


def _resolve(arguments: Sequence[str], flags: Mapping[str, Flag]) -> _Resolved:
    """Expand abbreviated flags: argparse accepts every prefix that matches only one flag."""
    resolved = _Resolved([], {}, [], {})
    shorts = tuple(flag.short for flag in flags.values() if flag.short)
    for word in arguments:
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-" or _is_number(word) or name in flags:
            pass
        elif not word.startswith("--"):
            if not word.startswith(shorts):
                resolved.unknown.append(name)
        elif len(fitting := [flag for flag in flags if flag.startswith(name)]) == 1:
            resolved.abbreviations[name] = fitting[0]
            word = fitting[0] + equals + value
        elif fitting:
            resolved.ambiguous[name] = fitting
        else:
            resolved.unknown.append(name)
        resolved.arguments.append(word)
    return resolved


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _of_program(flags: Mapping[str, Flag], program: Program) -> dict[str, Flag]:
    return {name: flag for name, flag in flags.items() if program in flag.programs}


def _unknown_message(word: str, flags: Mapping[str, Flag]) -> str:
    spelled = {name.replace("_", "-"): name for name in flags}
    found = difflib.get_close_matches(f"--{word.lstrip('-').replace('_', '-')}", spelled, n=3, cutoff=0.7)
    close = [spelled[name] for name in found]
    return f"{word}: did you mean {' or '.join(close)}?" if close else f"{word}: not a flag of any variant"


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise an error instead of exiting, as argparse would."""
        raise ConfigurationError(f"Upstream would not accept this command line: {message}.")


def _read(arguments: Sequence[str], flags: Mapping[str, Flag]) -> tuple[dict[str, Value], list[str]]:
    """Let argparse read the values that were given; return them with the words that belong to no flag."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for flag in flags.values():
        names = [flag.name, *([flag.short] if flag.short else [])]
        # SUPPRESS: a flag that was not given gets no attribute.
        if flag.kind == "switch":
            parser.add_argument(*names, dest=flag.name, action="store_true", default=SUPPRESS)
        else:
            choices = flag.choices or None
            parser.add_argument(*names, dest=flag.name, type=_TYPES[flag.kind], choices=choices, default=SUPPRESS)
    found, rest = parser.parse_known_args(list(arguments))
    return dict(vars(found)), rest


def _number_type(kind: Callable[[str], Value], what: str) -> Callable[[str], Value]:
    def convert(text: str) -> Value:
        try:
            return kind(text)
        except ValueError:
            hint = "; replace the variable by its number" if "$" in text else ""
            raise ArgumentTypeError(f"{text!r} is not {what}{hint}") from None

    return convert


def _separated(kind: Callable[[str], Value], what: str, separator: Literal["-", ","] = "-") -> Callable[[str], Value]:
    def check(text: str) -> Value:
        for word in text.split(separator):
            _number_type(kind, f"{what}, separated by {_SEPARATORS[separator]}")(word)
        return text

    return check


_SEPARATORS = {"-": "dashes", ",": "commas"}
_TYPES: dict[str, Callable[[str], Value]] = {
    "int": _number_type(int, "a whole number"),
    "float": _number_type(float, "a number"),
    "str": str,
    "bool": bool,
    "ints": _separated(int, "whole numbers"),
    "floats": _separated(float, "numbers"),
    "commas": _separated(int, "whole numbers", ","),
}
