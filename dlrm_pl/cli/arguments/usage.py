"""Turn jsonargparse errors into one readable message."""

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

from dlrm_pl.cli.arguments.reasons import explained
from dlrm_pl.documents.yaml_text import parse_yaml, reason_of
from dlrm_pl.errors import ConfigurationError, DLRMError
from dlrm_pl.program import program_name

_CLASS_NAME = re.compile(r"class_path[ =]'(\S+?)'")


def let_flags_stand_alone(parser: ArgumentParser) -> None:
    """Let ``--overwrite`` mean ``--overwrite true``, and likewise for any other option that may be true or false."""
    for action in parser._actions:
        if getattr(action, "_typehint", None) in (bool, bool | None, bool | str):
            action.nargs, action.const = "?", True


def with_home(value: Any) -> Any:
    """Expand ``~/`` and ``~NAME/`` at the beginning of parsed values to home directories.

    A shell does this only at the beginning of a word, so neither in ``--output=~/x`` nor in a file.

    Raises:
        ConfigurationError: there is no such user.
    """
    if isinstance(value, str):
        expanded = os.path.expanduser(value)
        if expanded == value and re.match(r"~[\w.-]*/", value):
            raise ConfigurationError(
                f"{value}: there is no user {value.split('/')[0]}. Name the folder by its full path."
            )
        return expanded
    if isinstance(value, Namespace):
        for name, inner in vars(value).items():
            setattr(value, name, with_home(inner))
        return value
    if isinstance(value, dict):
        return {name: with_home(inner) for name, inner in value.items()}
    return [with_home(inner) for inner in value] if isinstance(value, list) else value


@contextmanager
def usage_errors(command: str, parser: ArgumentParser | None = None) -> Iterator[None]:
    """Turn a parser's errors (with ``exit_on_error=False``) into errors of this package.

    By default, the parser prints a hundred lines of usage before the reason.

    Args:
        command: name of the command.
        parser: parser of the command's options, used for suggestions.

    Raises:
        ConfigurationError: the parser refused a value; states the reason.
    """
    try:
        yield
    except ArgumentError as error:
        reason = explained(str(error), parser)
        help_option = f"--{reason.key}.help {reason.cls}" if reason.key and reason.cls else "--help"
        raise ConfigurationError(
            f"{str(reason).rstrip('.?')}{'?' if str(reason).endswith('?') else '.'} "
            f"`{program_name()} {command} {help_option}` explains every option."
        ) from error


def read_yaml_with_limits() -> None:
    """Make this process's parsers read YAML, in files and in options, with the limits of ``documents``."""
    load = get_loader("yaml")
    if not isinstance(load, _Limited):
        set_loader("yaml", _Limited(load), (YAMLError,))


@dataclass(frozen=True)
class _Limited:
    """A YAML loader that refuses documents beyond the limits before the parsers' own loader reads them."""

    load: Callable[[str], Any]

    def __call__(self, text: str, path: str | PathLike[str] = "") -> Any:
        try:
            return parse_yaml(text, self.load)
        except YAMLError as error:
            raise YAMLError(f"{path}{': ' if path else ''}{reason_of(error)}") from error


@contextmanager
def own_errors(*readable: type[Exception]) -> Iterator[None]:
    """Show the user an error of this package that is raised while a parser makes an object, not the parser's own.

    The parser would turn it into an error that lists the types it tried and all values that it was given.

    Args:
        readable: errors of other libraries whose messages say what is wrong; ValueError and ImportError are always
            treated as such.

    Raises:
        DLRMError: the one that caused the parser's error, or a ConfigurationError with the message of the cause.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        name = _CLASS_NAME.search(str(error))
        made = f"{name[1]}: " if name else ""
        while cause is not None:
            if isinstance(cause, DLRMError):
                raise cause from None
            if isinstance(cause, (ValueError, ImportError, *readable)) and not _is_of_the_parser(cause):
                raise ConfigurationError(f"{made}{' '.join(str(cause).split())}") from error
            cause = cause.__cause__ or cause.__context__
        if made and "\nErrors:\n" in str(error):  # The parser tried other types and lost the cause.
            raise ConfigurationError(f"{made}{explained(str(error)).text}") from error
        raise


def _is_of_the_parser(error: BaseException) -> bool:
    """Tell whether jsonargparse itself raised an error, whose message only paraphrases another one."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith("jsonargparse")
