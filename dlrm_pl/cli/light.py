"""Run the commands that need no Trainer: a function's parameters are the command's options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from jsonargparse import ArgumentParser

from dlrm_pl.cli import garbage
from dlrm_pl.cli.arguments.usage import let_flags_stand_alone, read_yaml_with_limits, usage_errors, with_home
from dlrm_pl.cli.command_table import EXAMPLES, POSITIONAL
from dlrm_pl.cli.help.layout import COMMON_NAMES, HELP, arrange, value_word
from dlrm_pl.cli.output import Report
from dlrm_pl.program import program_name


def run_light(
    name: str, function: Callable[..., Report | None], args: list[str], verbatim: dict[str, list[str]] | None = None
) -> Report | None:
    """Parse the options of a function, call it, and return its report.

    Args:
        name: name of the command.
        function: function that implements the command.
        args: command line after the command.
        verbatim: values of parameters that are not options.

    Raises:
        ConfigurationError: An option is wrong.
    """
    read_yaml_with_limits()
    parser, added = parser_of(name, function, skip=verbatim or ())
    if HELP & set(args):
        args = ["--help"]  # Ignore all other arguments, which may be incomplete.
        _arrange(parser, name, function, added)
    with usage_errors(name, parser):
        values = with_home(parser.parse_args(_adding_to_lists(args, function)))
    garbage.resume()
    return function(**{key: values[key] for key in added}, **(verbatim or {}))


def _adding_to_lists(args: list[str], function: Callable[..., Report | None]) -> list[str]:
    """Let a repeated list option add to the list; by default, the parser keeps only the last one."""
    parameters = inspect.signature(function).parameters.values()
    lists = {f"--{parameter.name}" for parameter in parameters if "list[" in str(parameter.annotation)}
    seen: set[str] = set()
    words = []
    for word in args:
        option, separator, value = word.partition("=")
        words.append(f"{option}+{separator}{value}" if option in seen else word)
        seen |= {option} & lists
    return words


def parser_of(
    name: str, function: Callable[..., Report | None], skip: Collection[str] = ()
) -> tuple[ArgumentParser, list[str]]:
    """Return the parser of a command, and the names that its function's parameters have in it."""
    description = (inspect.getdoc(function) or "").split("Args:")[0].strip()
    parser = ArgumentParser(
        prog=f"{program_name()} {name}", description=description, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("-c", "--config", action="config", help="read options from this YAML file")
    parser.add_argument("--help_all", action="help", help="the same as --help")
    added = parser.add_function_arguments(function, as_group=False, as_positional=name in POSITIONAL, skip=set(skip))
    let_flags_stand_alone(parser)
    return parser, added


def _arrange(parser: ArgumentParser, name: str, function: Callable[..., Report | None], added: list[str]) -> None:
    """Prepare a parser to print its help."""
    actions: dict[str, Any] = {action.dest: action for action in parser._actions}
    required = [key for key in added if actions[key].required or not actions[key].option_strings]
    words = [
        f"--{key} {value_word(actions[key])}" if actions[key].option_strings else _positional(actions[key])
        for key in required
    ]
    behind = " -- COMMAND LINE" if name == "from-dlrm-flags" else ""
    key = "predict --artifact" if name == "predict" else name
    parser.usage = "\n".join(
        [
            " ".join([program_name(), name, *words, f"[OPTION ...]{behind}"]),
            f"example: {program_name()} {name} {EXAMPLES[key]}",
        ]
    )
    groups = [("required", required), ("options", [key for key in added if key not in required])]
    arrange(parser, [*groups, ("common options", ("config", *COMMON_NAMES))])


def _positional(action: Any) -> str:
    return value_word(action) if value_word(action).startswith("{") else str(action.dest).upper()
