"""One message for what a command line or a YAML file asks wrongly."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager

from dlrm_pl.errors import ConfigurationError, DLRMError

# Of a class that may be one of many, the parser tells why it is none of them; one of the reasons is the user's.
_OF_CLASS = re.compile(r"given class_path '(\S+)':\n(.*?)\n +- (?:Not|Expected)", re.DOTALL)


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
        if of_class := _OF_CLASS.search(reason):
            reason = f"{of_class[1]}: {of_class[2]}"
        raise ConfigurationError(
            f"{' '.join(reason.split())}. `cli.py {command} --help` explains every option."
        ) from error


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
