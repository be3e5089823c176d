"""One message for what a command line or a YAML file asks wrongly."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

from jsonargparse import get_loader, set_loader
from yaml import YAMLError

from dlrm_pl.documents.yaml_text import parse_yaml, reason_of
from dlrm_pl.errors import ConfigurationError, DLRMError

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
# What the parser also tried, and no user meant.
_NOT_MEANT = ("Expected a <class 'NoneType'>", "Expected a path", "Expected a dot import path", "Does not validate")


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
            f"{' '.join(reason.split()).rstrip('.')}. `cli.py {command} {help_option}` explains every option."
        ) from error


def _of_choice(reason: str) -> str:
    """Why a value is none of several types, in a line; other reasons as they are."""
    found = _OF_CHOICE.search(reason)
    if found is None:
        return reason
    # A reason may go on in lines without a bullet of their own.
    tried = [" ".join(text.split()).rstrip(".") for text in re.split(r"(?:^|\n) *- ", found["errors"])[1:]]
    meant = [error for error in tried if not error.startswith(_NOT_MEANT)]
    reasons = "; or ".join(meant or tried)
    given = (
        "" if "Problem with given class_path" in reasons or "Got value" in reasons else f". Got value: {found['value']}"
    )
    return f'Parser key "{found["key"]}": {reasons}{given}'


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
def own_errors() -> Iterator[None]:
    """Let an error of ours, raised while a parser makes an object, be the one that the user sees.

    The parser makes "is none of these types" of it, with all values that it was given.

    Raises:
        DLRMError: the one at the root of another error.
    """
    try:
        yield
    except (ValueError, TypeError, ArgumentError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, DLRMError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise
