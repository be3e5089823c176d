"""Lay out ``--help``: short placeholders for values, defaults in brackets, one example at the top."""

from __future__ import annotations

import types
from argparse import SUPPRESS, Action, HelpFormatter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from dlrm_pl.cli.output import JSON, QUIET, VERBOSE

HELP = frozenset(("-h", "--help", "--help_all"))
"""Options that ask for help."""
WIDTH = 110
"""Width of a help text in characters, on any terminal."""
_INDENT = 34
_PATHS = frozenset(
    [
        "artifact",
        "ckpt_path",
        "config",
        "counts",
        "data",
        "default_root_dir",
        "folder",
        "lpot_conf",
        "output",
        "path",
        "predict_raw",
        "raw",
        "reference",
        "to_reference",
        "to_upstream",
        "upstream",
        "vocabulary_from",
    ]
)
_TEXTS = {
    "config": "read options from this YAML file",
    "print_config": "print the configuration that results from all other options as YAML, and exit",
    "help": "show this help, and exit",
    "help_all": "show all options, and exit",
}
"""Texts for options that jsonargparse adds."""
_COMMON = (
    (QUIET, "print only results, warnings and errors: no progress, no log"),
    (VERBOSE, "log details, and show the traceback of an error"),
    (JSON, "print the result as one JSON document; everything else goes to standard error"),
)
"""Options of every command, which ``main`` reads before the command does."""
COMMON_NAMES = ("print_config", "quiet", "verbose", "json", "help")
"""Options that every help ends with."""


class ShortHelpFormatter(DefaultHelpFormatter):
    """Formatter with two columns: an option with a placeholder for its value, and its text with its default.

    ``DefaultHelpFormatter`` shows types as Python writes them: ``Optional[Literal['total', 'day', 'none']]``.
    """

    def __init__(self, prog: str, indent_increment: int = 2, max_help_position: int = _INDENT, **kwargs: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            prog, indent_increment, max_help_position, **(kwargs | {"width": WIDTH})
        )

    def _get_help_string(self, action: Action) -> str:
        text = " ".join((action.help or "").split()).rstrip(".").replace("``", "")
        default = action.default
        if action.required or default is None or default is SUPPRESS or default is False or "%(default)" in text:
            return text
        if isinstance(default, Sequence) and not isinstance(default, str):
            default = ",".join(map(str, default))
        return f"{text} [{default}]"

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        return value_word(action)

    def _format_args(self, action: Action, default_metavar: str) -> str:
        if action.nargs == "?" and action.option_strings:
            return ""  # A flag: without a value, it is true.
        return HelpFormatter._format_args(self, action, default_metavar)

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return HelpFormatter._format_action_invocation(self, action)
        # Leave out jsonargparse's `--list+`, which appends to a list: it would double the length of each line.
        names = ", ".join([name for name in action.option_strings if name[-1] != "+"] or action.option_strings)
        value = "" if action.nargs == 0 else self._format_args(action, value_word(action))
        return f"{names} {value}".strip()


def value_word(action: Action) -> str:
    """Return the placeholder for an option's value: ``N``, ``{dot,cat}``, ``PATH``."""
    name = action.dest.rpartition(".")[2]
    if name in _PATHS:
        return "PATH"
    if isinstance(action.metavar, str) and "ITEM" not in action.metavar:
        return action.metavar
    kind = getattr(action, "_typehint", action.type)
    if kind is None:
        return "VALUE"
    return _word_of(kind)


def _word_of(kind: Any) -> str:
    plain = {int: "N", float: "X", str: "TEXT", bool: "{true,false}"}
    if kind in plain:
        return plain[kind]
    origin, inner = get_origin(kind), [one for one in get_args(kind) if one is not type(None)]
    if origin is Literal:
        return f"{{{','.join(map(str, inner))}}}"
    if origin in (Union, types.UnionType):
        words = list(dict.fromkeys(map(_word_of, inner)))
        return "X" if set(words) == {"N", "X"} else words[0] if len(words) == 1 else "VALUE"
    if isinstance(origin, type) and issubclass(origin, Sequence) and inner:
        return f"[{_word_of(inner[0])},...]"
    return "VALUE"


def add_common_options(parser: ArgumentParser) -> None:
    """Show the options that every command has in the help of a parser, which does not read them itself."""
    for options, text in _COMMON:
        # `validate` and `test` have Lightning's --verbose, which is not the option that can be given here.
        parser._option_string_actions.pop(options[-1], None)
        parser.add_argument(*options, action="store_true", help=text)


def arrange(parser: ArgumentParser, groups: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Make a parser's help show exactly these options, in these groups.

    Args:
        parser: modified in place; afterwards it can only print its help.
        groups: title and names (``data.folder``) of each group, in order.
    """
    add_common_options(parser)
    for action in parser._actions:
        if action.dest in _TEXTS or "--print_config" in action.option_strings:
            name = "print_config" if "--print_config" in action.option_strings else action.dest
            action.help, action.dest = _TEXTS[name], name
            if name == "print_config":
                action.nargs = 0
    by_name = {action.dest: action for action in parser._actions}
    del parser._action_groups[:]  # type: ignore[attr-defined]
    for title, names in groups:
        group = parser.add_argument_group(title)
        group._group_actions.extend(by_name[name] for name in names if name in by_name)
    parser.formatter_class = ShortHelpFormatter
