"""One message for what a command line or a YAML file asks wrongly."""

from __future__ import annotations

import os
import re
from argparse import ArgumentError, ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from traceback import walk_tb
from typing import Any

from jsonargparse import Namespace, get_loader, set_loader
from yaml import YAMLError

from dlrm_pl.documents.yaml_text import parse_yaml, reason_of
from dlrm_pl.errors import ConfigurationError, DLRMError
from dlrm_pl.program import program_name

# Of a class that may be one of many, the parser tells why it is none of them; one of the reasons is the user's. It is
# what is indented further than its bullet.
_OF_CLASS = re.compile(
    r'Parser key "(?P<key>[^"]+)".*?\n(?P<indent> *)- Problem with given class_path '
    r"'(?P<name>\S+)':\n(?P<reason>(?:(?P=indent)  [^\n]*(?:\n|$)|[ ]*\n)+)",
    re.DOTALL,
)
_OF_CHOICE = re.compile(
    r'Parser key "(?P<key>[^"]+)":.*?\n *Errors:\n(?P<errors>.*?)\n *Given value type.*?Given value: (?P<value>[^\n]*)',
    re.DOTALL,
)
_CLASS_NAME = re.compile(r"class_path[ =]'(\S+?)'")
# What the parser also tried, and no user meant.
_NOT_MEANT = (
    *("Expected a <class 'NoneType'>", "Expected a <class 'list'>", "Expected a path"),
    *("Expected a dot import path", "Does not validate"),
)


def let_flags_stand_alone(parser: ArgumentParser) -> None:
    """Let ``--overwrite`` mean ``--overwrite true``, and any other option that is true or false likewise."""
    for action in parser._actions:
        if getattr(action, "_typehint", None) is bool:
            action.nargs, action.const = "?", True


def with_home(value: Any) -> Any:
    """What was parsed, with the user's home directory wherever a text begins with ``~/`` or ``~NAME/``.

    A shell does this only where a word begins with it, and so neither in ``--output=~/x`` nor in a file.

    Raises:
        ConfigurationError: there is no such user.
    """
    if isinstance(value, str):
        expanded = os.path.expanduser(value)
        if expanded == value and re.match(r"~[\w.-]*/", value):
            raise ConfigurationError(f"{value}: there is no user {value.split('/')[0]}. Name the folder by its path.")
        return expanded
    if isinstance(value, Namespace):
        for name, inner in vars(value).items():
            setattr(value, name, with_home(inner))
        return value
    if isinstance(value, dict):
        return {name: with_home(inner) for name, inner in value.items()}
    return [with_home(inner) for inner in value] if isinstance(value, list) else value


@contextmanager
def usage_errors(command: str) -> Iterator[None]:
    """Turn what a parser (with ``exit_on_error=False``) refuses into an error of ours.

    Left to itself the parser prints a hundred lines of usage before its reason.

    Raises:
        ConfigurationError: with the reason.
    """
    try:
        yield
    except ArgumentError as error:
        reason = str(error).strip().rstrip(".").replace(f"required: {command}.", "required: --")
        help_option = "--help"
        if of_class := _OF_CLASS.search(reason):
            reason = f"{of_class['name']}: {_of_choice(of_class['reason'])}"
            help_option = f"--{of_class['key']}.help {of_class['name']}"
        raise ConfigurationError(
            f"{' '.join(reason.split()).rstrip('.')}. `{program_name()} {command} {help_option}` explains every option."
        ) from error


def _of_choice(reason: str) -> str:
    """Why a value is none of several types, in a line; other reasons as they are."""
    found = _OF_CHOICE.search(reason)
    if found is None:
        return reason
    reasons = _meant(found["errors"])
    given = (
        "" if "Problem with given class_path" in reasons or "Got value" in reasons else f". Got value: {found['value']}"
    )
    return f'Parser key "{found["key"]}": {reasons}{given}'


def _meant(errors: str) -> str:
    """Of a list of errors, those that a user may have meant."""
    # A reason may go on in lines without a bullet of their own.
    tried = [" ".join(text.split()).rstrip(".") for text in re.split(r"(?:^|\n) *- ", errors)[1:]]
    return "; or ".join([error for error in tried if not error.startswith(_NOT_MEANT)] or tried)


def read_yaml_with_limits() -> None:
    """Have the parsers of this process read YAML, of files and of options, with the limits of ``documents``."""
    load = get_loader("yaml")
    if not isinstance(load, _Limited):
        set_loader("yaml", _Limited(load), (YAMLError,))


@dataclass(frozen=True)
class _Limited:
    """A loader of the parsers', which comes to see what is within the limits alone."""

    load: Callable[[str], Any]

    def __call__(self, text: str, path: str | PathLike[str] = "") -> Any:
        try:
            return parse_yaml(text, self.load)
        except YAMLError as error:
            raise YAMLError(f"{path}{': ' if path else ''}{reason_of(error)}") from error


@contextmanager
def own_errors(*told: type[Exception]) -> Iterator[None]:
    """Let an error that is meant for the user, raised while a parser makes an object, be the one that the user sees.

    The parser makes "is none of these types" of it, with all values that it was given.

    Args:
        told: errors of others whose message says what is wrong; a ValueError and a missing package are always such.

    Raises:
        DLRMError: the one at the root of another error, or a ConfigurationError with the message at the root.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        found = _CLASS_NAME.search(str(error))
        made = f"{found[1]}: " if found else ""
        while cause is not None:
            if isinstance(cause, DLRMError):
                raise cause from None
            if isinstance(cause, (ValueError, ImportError, *told)) and not _is_of_the_parser(cause):
                raise ConfigurationError(f"{made}{' '.join(str(cause).split())}") from error
            cause = cause.__cause__ or cause.__context__
        tried = re.search(r"\nErrors:\n(.+?)\nGiven value", str(error), re.DOTALL)
        if tried and made:  # The parser went on to other types, and forgot the cause.
            reason = _meant(tried[1]).removeprefix(f"Problem with given class_path '{made[:-2]}': ")
            raise ConfigurationError(f"{made}{reason}") from error
        raise


def _is_of_the_parser(error: BaseException) -> bool:
    """Whether it was raised there, and so says what the parser makes of another error."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith("jsonargparse")
