"""Set how much a command prints, and print its report as text or as one JSON document."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUIET, VERBOSE, JSON = ("-q", "--quiet"), ("-v", "--verbose"), ("--json",)


@dataclass(frozen=True)
class Report:
    """Report of a command.

    Attributes:
        data: result for ``--json``; the command's help documents it.
        text: human-readable text, or a function that prints it.
        error: error that makes the command fail; it is raised after the report is printed.
    """

    data: Mapping[str, Any]
    text: str | Callable[[], None] = ""
    error: Exception | None = None

    def print(self, as_json: bool) -> None:
        """Print the report to standard output.

        Raises:
            Exception: ``error``, after everything is printed.
        """
        if as_json:
            print(json.dumps(plain(self.data), indent=2, allow_nan=False))
        elif callable(self.text):
            self.text()
        elif self.text:
            print(self.text)
        if self.error is not None:
            raise self.error


@dataclass(frozen=True)
class Verbosity:
    """How much is printed, and in which form.

    Attributes:
        quiet: print only results, warnings and errors.
        verbose: also print details, and the traceback of an error.
        json: print the result as JSON.
    """

    quiet: bool = False
    verbose: bool = False
    json: bool = False

    @property
    def level(self) -> int:
        """Return the log level."""
        return logging.WARNING if self.quiet else logging.DEBUG if self.verbose else logging.INFO

    @contextlib.contextmanager
    def output(self) -> Iterator[None]:
        """Redirect what is printed to standard error if standard output is reserved for the JSON document."""
        with contextlib.redirect_stdout(sys.stderr) if self.json else contextlib.nullcontext():
            yield


def take_verbosity(args: Sequence[str]) -> tuple[list[str], Verbosity]:
    """Remove the options that every command has from a command line; what follows `--` is left alone."""
    end = args.index("--") if "--" in args else len(args)
    known = {*QUIET, *VERBOSE, *JSON}
    given = {arg for arg in args[:end] if arg in known}
    rest = [arg for arg in args[:end] if arg not in known]
    verbosity = Verbosity(bool(given & {*QUIET}), bool(given & {*VERBOSE}), bool(given & {*JSON}))
    return [*rest, *args[end:]], verbosity


def plain(value: Any) -> Any:
    """Convert a value to JSON types; numbers that are not finite become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "item"):  # A NumPy or torch number.
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
